//! The server over real connections, with a loop that answers, does not, or has ended.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::Duration,
};

use super::*;

/// A server whose scrapes are answered by `answer`, on a thread as the daemon's.
fn serve(mut answer: impl FnMut(Waiting) + Send + 'static) -> SocketAddr {
    let listening = Listening::at(&"0".parse().unwrap()).unwrap();
    let address = listening.address();
    let mut scrapes = listening.start().unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            loop {
                answer(scrapes.next().await);
            }
        });
    });
    address
}

fn healthy(waiting: Waiting) {
    waiting.answer(snapshot(&mut handshakes(None), stats()));
}

/// Head and body of the answer to a request.
fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(format!("{request}\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    (head.to_ascii_lowercase(), body.to_owned())
}

#[test]
fn paths_and_methods() {
    let address = serve(healthy);
    let (head, body) = ask(
        address,
        "GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text; version=1.0.0",
    );
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{head}"
    );
    assert!(body.ends_with("# EOF\n"), "{body}");
    let (head, body) = ask(address, "GET /metrics HTTP/1.1");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(body.contains("tls_sniff_build_info{version="), "{body}");
    for (request, status, text) in [
        ("GET /healthz HTTP/1.1", "200 ok", "ok\n"),
        ("HEAD /healthz HTTP/1.1", "200 ok", ""),
        ("HEAD /metrics HTTP/1.1", "200 ok", ""),
        ("GET / HTTP/1.1", "200 ok", server::HELP),
        ("GET /metrics/ HTTP/1.1", "404 not found", server::HELP),
        (
            "POST /metrics HTTP/1.1\r\nContent-Length: 0",
            "405 method not allowed",
            "only GET and HEAD\n",
        ),
        ("BREW /metrics HTTP/1.1", "405 method not allowed", "only GET and HEAD\n"),
    ] {
        let (head, body) = ask(address, request);
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{request}: {head}");
        assert!(head.contains("connection: close"), "{request}: {head}");
        assert_eq!(body, text, "{request}");
    }
    let (head, _) = ask(address, &format!("GET /{} HTTP/1.1", "a".repeat(20_000)));
    assert!(head.starts_with("http/1.1 414 ") || head.starts_with("http/1.1 431 "), "{head}");
}

#[test]
fn nothing_is_watched() {
    let address = serve(|waiting| {
        let mut snapshot = snapshot(&mut handshakes(None), stats());
        snapshot.now.interfaces = 0;
        waiting.answer(snapshot);
    });
    let (head, body) = ask(address, "GET /healthz HTTP/1.1");
    assert!(head.starts_with("http/1.1 503 "), "{head}");
    assert!(body.starts_with("no interface is watched"), "{body}");
    let (head, _) = ask(address, "GET /metrics HTTP/1.1");
    assert!(head.starts_with("http/1.1 200 "), "{head}");
}

#[test]
fn a_loop_that_is_stuck() {
    let mut answered = false;
    let mut kept = Vec::new();
    let address = serve(move |waiting| {
        // Once, and then never.
        if answered {
            kept.push(waiting)
        } else {
            healthy(waiting)
        }
        answered = true;
    });
    assert!(ask(address, "GET /healthz HTTP/1.1").0.starts_with("http/1.1 200 "));
    // Until that answer is too old for another one.
    thread::sleep(Duration::from_millis(300));
    // All at once, and none waits for another.
    let began = Instant::now();
    let asked: Vec<_> =
        (0..4).map(|_| thread::spawn(move || ask(address, "GET /healthz HTTP/1.1"))).collect();
    let scrape = thread::spawn(move || ask(address, "GET /metrics HTTP/1.1"));
    for (head, body) in asked.into_iter().map(|asked| asked.join().unwrap()) {
        assert!(head.starts_with("http/1.1 503 "), "{head}");
        assert!(body.starts_with("the pipeline did not answer in 2 s"), "{body}");
    }
    // The last figures, with their age.
    let (head, body) = scrape.join().unwrap();
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    let age =
        samples(&body, &families::AGE).into_iter().find(|(labels, _)| labels.contains("pipeline"));
    assert!(age.unwrap().1.parse::<f64>().unwrap() >= 2.0, "{body}");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[test]
fn a_run_that_has_ended() {
    let listening = Listening::at(&"0".parse().unwrap()).unwrap();
    let address = listening.address();
    drop(listening.start().unwrap());
    for path in ["/metrics", "/healthz"] {
        let (head, body) = ask(address, &format!("GET {path} HTTP/1.1"));
        assert!(head.starts_with("http/1.1 503 "), "{head}");
        assert_eq!(body, "the run is at its end\n");
    }
}

#[test]
fn connections_that_say_nothing_keep_nobody_out() {
    let address = serve(healthy);
    let silent: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    let slow: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nX: ").unwrap();
            stream
        })
        .collect();
    let began = Instant::now();
    assert!(ask(address, "GET /metrics HTTP/1.1").0.starts_with("http/1.1 200 "));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    // The first ones had to go.
    let mut first = &silent[0];
    first.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    assert!(
        !matches!(first.read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    );
    drop((silent, slow));
}

#[test]
fn an_address_that_is_taken_is_said() {
    let first = Listening::at(&"0".parse().unwrap()).unwrap();
    let taken = first.address().to_string().parse().unwrap();
    let error = Listening::at(&taken).unwrap_err();
    assert!(error.to_string().starts_with("cannot serve metrics at 127.0.0.1:"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("ss -ltnp")));
}

#[test]
fn a_start_that_fails_behind_it_is_no_panic() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { drop(Listening::at(&"0".parse().unwrap()).unwrap()) });
}
