#!/bin/sh
# Reads a queue as a consumer:   FEED=.../poller/ENDPOINT/consumer/NAME KEY=... sh reader.sh COMMAND
# COMMAND gets each page of messages (JSON) on its standard input. A page on which it fails comes again.
page=$(mktemp) iterator=''
trap 'rm -f "$page"' EXIT
trap 'exit 0' INT TERM

while :; do
    # Sending the iterator says that everything before it was handled.
    status=$(curl -sS -G -o "$page" -w '%{http_code}' --max-time 60 -H "authorization: Bearer $KEY" \
        -d limit=50 -d wait=30 ${iterator:+-d "iterator=$iterator"} "$FEED")
    case $status in
    200)
        if grep -q '"gap":{[^}]*}}$' "$page"; then # retention was faster than this reader
            echo "missed: $(sed -n 's/.*"gap":\({[^}]*}\)}$/\1/p' "$page")" >&2
        fi
        if ! grep -q '^{"data":\[\],' "$page"; then
            until "$@" <"$page"; do sleep 5; done
        fi
        # The page's own iterator stands behind its messages: it is the last of that name.
        iterator=$(sed -n 's/.*"iterator":"\([^"]*\)".*/\1/p' "$page" | tail -n 1)
        ;;
    400)
        grep -q '"code":"invalid_iterator"' "$page" || { cat "$page" >&2; exit 1; }
        iterator='' # the server goes on from the place that it keeps
        ;;
    000 | 429 | 5??) sleep 1 ;; # not reached, or not now
    *) cat "$page" >&2; exit 1 ;;
    esac
done
