"""Reads a queue as a consumer:   FEED=.../poller/ENDPOINT/consumer/NAME KEY=... python3 reader.py"""

import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request


def handle(message):
    """Your work. After a crash it may see a message again: with the same id."""
    print(message["seq"], message["id"], flush=True)


def read(iterator):
    """The next page: what comes after the iterator. Sending it says that everything before it was handled."""
    query = {"limit": 50, "wait": 30}
    if iterator:
        query["iterator"] = iterator
    url = os.environ["FEED"] + "?" + urllib.parse.urlencode(query)
    request = urllib.request.Request(url, headers={"authorization": "Bearer " + os.environ["KEY"]})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


iterator = None
while True:
    try:
        page = read(iterator)
    except urllib.error.HTTPError as error:
        problem = error.read().decode()
        if error.code == 400 and '"invalid_iterator"' in problem:
            iterator = None  # the server goes on from the place that it keeps
        elif error.code == 429 or error.code >= 500:
            time.sleep(1)  # not now
        else:
            sys.exit(f"{error.code} {problem}")
        continue
    except (OSError, http.client.HTTPException):
        time.sleep(1)  # not reached
        continue
    if "gap" in page:  # retention was faster than this reader
        print("missed:", json.dumps(page["gap"]), file=sys.stderr)
    for message in page["data"]:
        handle(message)
    iterator = page["iterator"]
