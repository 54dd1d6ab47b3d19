"""The SDK under test: its sync client, or with SDK_CLIENT=async its async one, driven call by call."""

import asyncio
import inspect
import os
import threading
import time
import unittest
import uuid

from svix.api import ApplicationIn, EndpointIn, MessageIn, Svix, SvixAsync, SvixOptions
from svix.exceptions import HttpError, HTTPValidationError

url = os.environ["SDK_URL"]
key = os.environ["SDK_KEY"]


class _Driven:
    """A part of the async client whose calls are waited for."""

    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    def __init__(self, inner):
        self._inner = inner

    def __getattr__(self, name):
        found = getattr(self._inner, name)
        if not inspect.iscoroutinefunction(found):
            return _Driven(found)
        return lambda *a, **k: asyncio.run_coroutine_threadsafe(found(*a, **k), self.loop).result(20)


def client(token):
    options = SvixOptions(server_url=url)
    if os.environ.get("SDK_CLIENT") == "async":
        return _Driven(SvixAsync(token, options))
    return Svix(token, options)


svix = client(key)


# What was found wrong with webhooks on arrival.
faults = []


def unique(prefix):
    """A name that no other test uses."""
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def new_app(**more):
    return svix.application.create(ApplicationIn(**{"name": unique("app"), **more}))


def new_endpoint(app, **more):
    return svix.endpoint.create(app.id, EndpointIn(**{"url": "https://127.0.0.1/hook", **more}))


def send(app, options=None, **more):
    message = MessageIn(**{"event_type": "a", "payload": {"a": 1}, **more})
    return svix.message.create(app.id, message, *([options] if options else []))


def eventually(ask, wanted):
    """Asks again until the answer is as wanted, for at most ten seconds."""
    deadline = time.monotonic() + 10
    while not wanted(answer := ask()):
        if time.monotonic() > deadline:
            raise AssertionError(f"never so: {answer}")
        time.sleep(0.02)
    return answer


class Case(unittest.TestCase):
    maxDiff = None

    def tearDown(self):
        self.assertEqual(faults, [])

    def refused(self, status, code, call, *arguments):
        """Sees that a call is refused so; for 422, `code` is where the fault is."""
        with self.assertRaises(HTTPValidationError if status == 422 else HttpError) as raised:
            call(*arguments)
        error = raised.exception
        self.assertEqual(error.status_code, status)
        if status == 422:
            [fault] = error.detail
            self.assertEqual(fault.loc, code)
            self.assertTrue(fault.msg and fault.type)
        else:
            self.assertEqual(error.code, code)
            self.assertGreater(len(error.detail), 5)

    def there_and_back(self, list_page, limit, id=lambda item: item.id):
        """Reads a list in pages, goes back by `prev_iterator`, and gives the items. `list_page(limit, iterator)`."""
        page = list_page(limit, None)
        there = [page.data]
        while not page.done:
            self.assertEqual(len(page.data), limit, "only the last page may be short")
            page = list_page(limit, page.iterator)
            there.append(page.data)
        back = [page.data]
        while len(back) < len(there):
            page = list_page(limit, page.prev_iterator)
            back.insert(0, page.data)
        self.assertTrue(page.done, "the first page, reached from behind, is the end of that way")
        items = [item for page in there for item in page]
        self.assertEqual([id(item) for page in back for item in page], [id(item) for item in items])
        self.assertEqual(len({id(item) for item in items}), len(items), "an item twice")
        return items
