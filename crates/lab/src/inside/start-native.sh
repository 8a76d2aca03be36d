# Plain Linux, read by init: the machine itself takes the traffic that a guest would.
nc -ll -p 5001 -e /lab/sink.sh </dev/null >/dev/null 2>&1 &
