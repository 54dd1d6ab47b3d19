from svix.api import (
    EventTypeCreateOptions,
    EventTypeDeleteOptions,
    EventTypeIn,
    EventTypeListOptions,
    EventTypePatch,
    EventTypeUpsertIn,
    Ordering,
)

from sdk import Case, svix, unique

SCHEMAS = {"1": {"title": "Invoice", "type": "object", "examples": [{"amount": 1}]}}


class EventType(Case):
    def test_create_gives_back_what_it_was_given(self):
        given = {
            "name": unique("invoice.paid"),
            "description": "Bezahlt 🦀",
            "archived": False,
            "deprecated": True,
            "schemas": SCHEMAS,
            "group_name": "invoice",
            "feature_flags": ["beta"],
        }
        made = svix.event_type.create(EventTypeIn(**given))
        for field, value in given.items():
            self.assertEqual(getattr(made, field), value)
        self.assertEqual(svix.event_type.get(given["name"]), made)
        self.refused(409, "conflict", svix.event_type.create, EventTypeIn(**given))
        self.refused(
            422, ["body", "name"], svix.event_type.create, EventTypeIn(name="no spaces", description="")
        )

    def test_create_with_the_same_idempotency_key_is_answered_the_same(self):
        given = EventTypeIn(name=unique("type"), description="d")
        options = EventTypeCreateOptions(idempotency_key=unique("key"))
        self.assertEqual(svix.event_type.create(given, options), svix.event_type.create(given, options))

    def test_list_goes_there_and_back_with_and_without_schemas(self):
        prefix = unique("list")
        names = [f"{prefix}.{end}" for end in "abcde"]
        for name in names:
            svix.event_type.create(EventTypeIn(name=name, description=name, schemas=SCHEMAS))
        svix.event_type.delete(names[4])

        def listed(**options):
            items = self.there_and_back(
                lambda limit, iterator: svix.event_type.list(
                    EventTypeListOptions(limit=limit, iterator=iterator, **options)
                ),
                2,
                id=lambda item: item.name,
            )
            return [item for item in items if item.name.startswith(prefix)]

        self.assertEqual([item.name for item in listed()], names[:4])
        self.assertEqual([item.name for item in listed(order=Ordering.DESCENDING)], names[3::-1])
        self.assertEqual([item.name for item in listed(include_archived=True)], names)
        self.assertEqual({str(item.schemas) for item in listed(with_content=True)}, {str(SCHEMAS)})
        self.assertEqual({item.schemas for item in listed()}, {None})

    def test_upsert_replaces_an_event_type_or_makes_it(self):
        name = unique("type")
        given = EventTypeUpsertIn(description="made", schemas=SCHEMAS, group_name="g", deprecated=True)
        made = svix.event_type.upsert(name, given)
        replaced = svix.event_type.upsert(name, EventTypeUpsertIn(description="replaced"))
        self.assertEqual(
            (replaced.name, replaced.description, replaced.deprecated), (name, "replaced", False)
        )
        self.assertEqual((replaced.schemas, replaced.group_name), (None, None))
        self.assertEqual(replaced.created_at, made.created_at)

    def test_patch_takes_null_for_another_thing_than_absence(self):
        name = unique("type")
        given = EventTypeIn(name=name, description="d", schemas=SCHEMAS, group_name="g", feature_flags=["f"])
        svix.event_type.create(given)
        changed = svix.event_type.patch(name, EventTypePatch(description="other"))
        self.assertEqual((changed.schemas, changed.group_name, changed.feature_flags), (SCHEMAS, "g", ["f"]))
        emptied = svix.event_type.patch(
            name, EventTypePatch(schemas=None, group_name=None, feature_flags=None)
        )
        self.assertEqual((emptied.schemas, emptied.group_name, emptied.feature_flags), (None, None, None))
        self.assertEqual(emptied.description, "other")

    def test_delete_archives_create_brings_back_expunge_takes_away(self):
        name = unique("type")
        svix.event_type.create(EventTypeIn(name=name, description="first", schemas=SCHEMAS))
        svix.event_type.delete(name)
        self.assertTrue(svix.event_type.get(name).archived)
        back = svix.event_type.create(EventTypeIn(name=name, description="second"))
        self.assertEqual((back.archived, back.description, back.schemas), (False, "second", None))
        svix.event_type.delete(name, EventTypeDeleteOptions(expunge=True))
        self.refused(404, "not_found", svix.event_type.get, name)
