import json
from datetime import datetime, timedelta, timezone

from svix.api import (
    MessageAttemptGetOptions,
    MessageAttemptListAttemptedDestinationsOptions,
    MessageAttemptListAttemptedMessagesOptions,
    MessageAttemptListByEndpointOptions,
    MessageAttemptListByMsgOptions,
    MessageAttemptResendOptions,
    MessageStatus,
    StatusCodeClass,
)

from receiver import new_endpoint
from sdk import Case, eventually, new_app, send, svix, unique

attempts = svix.message_attempt
MOMENT = timedelta(milliseconds=1)


def recorded(app, endpoint, count):
    """Waits until so many attempts at an endpoint are recorded, and gives them, newest first."""
    options = MessageAttemptListByEndpointOptions(with_content=True)
    ask = lambda: attempts.list_by_endpoint(app.id, endpoint.id, options).data
    return eventually(ask, lambda data: len(data) >= count)


def stands(app, message, status):
    """Waits until a message stands so with all its endpoints."""
    ask = lambda: attempts.list_attempted_destinations(app.id, message.id).data
    return eventually(ask, lambda data: data and all(one.status == status for one in data))


class Scene(Case):
    """Nine messages of one endpoint, numbered; each third one is answered 404 for good."""

    @classmethod
    def setUpClass(cls):
        def answer(_, hook):
            status = [200, 201, 404][json.loads(hook.body)["n"] % 3]
            return status, {}, f"said {status}".encode()

        cls.app = new_app()
        cls.endpoint, _ = new_endpoint(cls.app, answer, uid=unique("uid"))
        cls.sent = [
            send(
                cls.app,
                event_type="first.half" if n < 5 else "second.half",
                payload={"n": n},
                channels=["odd"] if n % 2 else ["even"],
                tags=["early"] if n < 2 else ["late"],
            )
            for n in range(9)
        ]
        for n, message in enumerate(cls.sent):
            stands(cls.app, message, MessageStatus.FAIL if n % 3 == 2 else MessageStatus.SUCCESS)

    def test_list_by_endpoint_by_every_filter_there_and_back(self):
        def count(**options):
            return len(
                self.there_and_back(
                    lambda limit, iterator: attempts.list_by_endpoint(
                        self.app.id,
                        self.endpoint.uid,
                        MessageAttemptListByEndpointOptions(limit=limit, iterator=iterator, **options),
                    ),
                    4,
                )
            )

        first = self.sent[0].timestamp
        for expected, options in [
            (15, {}),
            (6, {"status": MessageStatus.SUCCESS}),
            (9, {"status": MessageStatus.FAIL}),
            (0, {"status": MessageStatus.PENDING}),
            (6, {"status_code_class": StatusCodeClass(200)}),
            (9, {"status_code_class": StatusCodeClass(400)}),
            (0, {"status_code_class": StatusCodeClass(0)}),
            (6, {"channel": "odd"}),
            (2, {"tag": "early"}),
            (8, {"event_types": ["second.half"]}),
            (15, {"event_types": ["first.half", "second.half"]}),
            (0, {"before": first}),
            (15, {"after": first - MOMENT}),
            (15, {"expanded_statuses": False}),
        ]:
            with self.subTest(options):
                self.assertEqual(count(**options), expected)

    def test_list_by_endpoint_shows_answers_and_messages_if_it_is_asked_to(self):
        def the_last(**options):
            given = MessageAttemptListByEndpointOptions(
                status=MessageStatus.SUCCESS, channel="odd", event_types=["second.half"], **options
            )
            [found] = attempts.list_by_endpoint(self.app.id, self.endpoint.id, given).data
            return found

        full = the_last(with_content=True, with_msg=True)
        self.assertRegex(full.id, "^atmpt_[A-Za-z0-9]{27}$")
        self.assertEqual((full.response, full.response_status_code), ("said 201", 201))
        self.assertEqual(
            (full.msg_id, full.endpoint_id, full.url), (self.sent[7].id, self.endpoint.id, self.endpoint.url)
        )
        self.assertEqual(
            (full.msg.id, full.msg.event_type, full.msg.payload), (self.sent[7].id, "second.half", {})
        )
        self.assertEqual((str(full.status_text), full.trigger_type), ("success", 0))
        self.assertEqual((the_last().response, the_last().msg), ("", None))

    def test_list_attempted_messages_by_every_filter_there_and_back(self):
        def numbers(**options):
            items = self.there_and_back(
                lambda limit, iterator: attempts.list_attempted_messages(
                    self.app.id,
                    self.endpoint.id,
                    MessageAttemptListAttemptedMessagesOptions(
                        limit=limit, iterator=iterator, with_content=True, **options
                    ),
                ),
                2,
            )
            return "".join(str(item.payload["n"]) for item in items)

        first = self.sent[0].timestamp
        for expected, options in [
            ("876543210", {}),
            ("764310", {"status": MessageStatus.SUCCESS}),
            ("852", {"status": MessageStatus.FAIL}),
            ("", {"status": MessageStatus.SENDING}),
            ("7531", {"channel": "odd"}),
            ("10", {"tag": "early"}),
            ("43210", {"event_types": ["first.half"]}),
            ("", {"before": first}),
            ("876543210", {"after": first - MOMENT}),
            ("876543210", {"expanded_statuses": False}),
        ]:
            with self.subTest(options):
                self.assertEqual(numbers(**options), expected)
        usual = attempts.list_attempted_messages(self.app.id, self.endpoint.id).data[0]
        self.assertEqual((usual.id, usual.status, usual.payload), (self.sent[8].id, MessageStatus.FAIL, {}))


class Attempts(Case):
    def test_list_by_msg_by_every_filter_there_and_back(self):
        app = new_app()
        good, _ = new_endpoint(app, uid=unique("uid"))
        bad, _ = new_endpoint(app, lambda *_: (500, {}, b"no"))
        message = send(app, event_id=unique("event"), channels=["c"], tags=["t"])
        recorded(app, good, 1)
        recorded(app, bad, 3)

        def count(**options):
            return len(
                self.there_and_back(
                    lambda limit, iterator: attempts.list_by_msg(
                        app.id,
                        message.event_id,
                        MessageAttemptListByMsgOptions(limit=limit, iterator=iterator, **options),
                    ),
                    2,
                )
            )

        for expected, options in [
            (4, {}),
            (1, {"status": MessageStatus.SUCCESS}),
            (3, {"status": MessageStatus.FAIL}),
            (3, {"status_code_class": StatusCodeClass(500)}),
            (0, {"status_code_class": StatusCodeClass(300)}),
            (1, {"endpoint_id": good.id}),
            (1, {"endpoint_id": good.uid}),
            (3, {"endpoint_id": bad.id}),
            (4, {"channel": "c"}),
            (0, {"channel": "d"}),
            (4, {"tag": "t"}),
            (0, {"tag": "u"}),
            (4, {"event_types": ["a", "b"]}),
            (0, {"event_types": ["b"]}),
            (0, {"before": message.timestamp}),
            (4, {"after": message.timestamp - MOMENT}),
        ]:
            with self.subTest(options):
                self.assertEqual(count(**options), expected)
        options = MessageAttemptListByMsgOptions(with_content=True, expanded_statuses=True)
        shown = attempts.list_by_msg(app.id, message.id, options).data
        self.assertEqual({one.response for one in shown}, {"", "no"})

    def test_list_attempted_destinations_tells_how_a_message_stands(self):
        app = new_app()
        good, _ = new_endpoint(app, description="good")
        waiting, _ = new_endpoint(app, lambda *_: (503, {"retry-after": "3600"}, b""))
        new_endpoint(app, channels=["another"])
        message = send(app)
        recorded(app, good, 1)
        recorded(app, waiting, 1)
        ask = lambda: attempts.list_attempted_destinations(app.id, message.id).data
        data = eventually(ask, lambda data: any(one.status == MessageStatus.SENDING for one in data))
        found = {one.id: one for one in data}
        self.assertEqual(set(found), {good.id, waiting.id})
        self.assertEqual((found[good.id].status, found[good.id].next_attempt), (MessageStatus.SUCCESS, None))
        due = found[waiting.id].next_attempt - datetime.now(timezone.utc)
        self.assertLess(abs(due - timedelta(hours=1)), timedelta(seconds=30))
        both = self.there_and_back(
            lambda limit, iterator: attempts.list_attempted_destinations(
                app.id,
                message.id,
                MessageAttemptListAttemptedDestinationsOptions(limit=limit, iterator=iterator),
            ),
            1,
        )
        self.assertEqual(len(both), 2)

    def test_get_shows_one_and_expunge_content_erases_its_answer(self):
        app = new_app()
        endpoint, _ = new_endpoint(app, lambda *_: (200, {}, "größer 🦀".encode()))
        message = send(app)
        [attempt] = recorded(app, endpoint, 1)
        self.assertEqual(attempts.get(app.id, message.id, attempt.id).response, "größer 🦀")
        other = attempts.get(
            app.id, message.id, attempt.id, MessageAttemptGetOptions(expanded_statuses=False)
        )
        self.assertEqual(other.status, MessageStatus.SUCCESS)
        attempts.expunge_content(app.id, message.id, attempt.id)
        self.assertEqual(attempts.get(app.id, message.id, attempt.id).response, "")
        self.refused(404, "not_found", attempts.get, app.id, send(app).id, attempt.id)

    def test_resend_sends_again_by_hand(self):
        app = new_app()
        endpoint, inbox = new_endpoint(app)
        message = send(app)
        recorded(app, endpoint, 1)
        options = MessageAttemptResendOptions(idempotency_key=unique("key"))
        attempts.resend(app.id, message.id, endpoint.id, options)
        attempts.resend(app.id, message.id, endpoint.id, options)
        self.assertEqual(recorded(app, endpoint, 2)[0].trigger_type, 1)
        attempts.resend(app.id, message.id, endpoint.id)
        recorded(app, endpoint, 3)
        self.assertEqual([hook.id for hook in inbox.arrived], [message.id] * 3)
        svix.message.expunge_content(app.id, message.id)
        self.refused(400, "payload_expired", attempts.resend, app.id, message.id, endpoint.id)

    def test_a_message_given_up_is_shown_as_canceled_to_those_who_know_that_word(self):
        app = new_app()
        endpoint, _ = new_endpoint(app, lambda *_: (503, {"retry-after": "3600"}, b""))
        message = send(app)
        stands(app, message, MessageStatus.SENDING)
        svix.message.expunge_content(app.id, message.id)
        stands(app, message, MessageStatus.CANCELED)

        def status(**options):
            given = MessageAttemptListAttemptedMessagesOptions(**options)
            return attempts.list_attempted_messages(app.id, endpoint.id, given).data[0].status

        self.assertEqual(status(), MessageStatus.CANCELED)
        self.assertEqual(status(expanded_statuses=False), MessageStatus.SUCCESS)
