#!/bin/sh
# Makes the captures of this directory anew; see README.md.
set -eu
cd "$(dirname "$0")"
export TZ=UTC
hex() { text2pcap -q -D -t ISO "$@"; }

hex -F pcap -e 0x0800 ip.txt us.pcap
hex -F nsecpcap -e 0x0800 ip.txt ns.pcap
editcap -F modpcap us.pcap modified.pcap
editcap -F pcap -s 60 us.pcap snaplen.pcap
hex -F pcap -l 101 ip.txt raw.pcap
hex -F pcap -l 0 null.txt null.pcap
hex -F nsecpcap -l 113 sll.txt sll.pcap
hex -F nsecpcap -l 276 sll2.txt sll2.pcap

hex -N eth7 -e 0x0800 ip.txt named.pcapng
echo 'CLIENT_RANDOM 00 00' > secrets.txt
editcap --inject-secrets tls,secrets.txt named.pcapng secrets.pcapng
rm secrets.txt
# Link type 105 is 802.11, which tls-sniff cannot walk.
hex -F pcap -l 105 ip.txt wifi.pcap
mergecap -a -w interfaces.pcapng named.pcapng sll2.pcap wifi.pcap raw.pcap
rm wifi.pcap

# The tools write kernel and processor of the machine into pcapng files: no business of this repository.
for text in "$(uname -r)" "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1 | cut -c 1-8)"; do
    LC_ALL=C sed -i "s|$text|$(printf %s "$text" | tr '!-~' x)|g" ./*.pcapng
done

python3 make.py
