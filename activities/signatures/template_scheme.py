"""Schemes that sign a template: where the signature, the time and the id are, and which text is signed.

How the text is signed, by an HMAC or a private key, is what the schemes add.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from activities.signatures.forms import MOST_GROUPS, Proof, SignatureForm
from activities.signatures.hmac_options import NUMBER_PLACE, Options, check_places, header_names, time_place
from activities.signatures.places import Reading, ValuePlace
from activities.signatures.scheme import (
    LONGEST_SIGNED_ID,
    ConfigError,
    Scheme,
    SignatureError,
    SignedRequest,
    Verified,
    lower,
)
from activities.signatures.templates import UNBOUNDED, Context, Template
from activities.signatures.times import NAMES, read_milliseconds, write_time

MOST_NUMBERED: Final = 100
"""DocuSign numbers its headers from 1 to 100, a header for each key of an account."""

VISIBLE: Final = re.compile(r"[\x21-\x7e]+")
TYPES: Final = {"content-type": "application/json"}
"""What `sign` writes into headers that are signed and not given."""


class TemplateScheme(Scheme):
    """A scheme whose options say what is where."""

    def _set_up(self, options: Options) -> None:
        """Read the options; raises `ConfigError`."""
        check_places(options)
        self._options = options
        self._headers = header_names(options.header)
        self._place = ValuePlace.of(options.signature) if options.signature else None
        self._form = SignatureForm(options.form or options.prefix + "{signature}", options.separator)
        self._time_place = time_place(options)
        self._id_place = ValuePlace.of(f"header:{options.id_header}") if options.id_header else None
        self._template = Template("{body}" if options.signed == "body" else options.signed, [*self._form.others, "id"])
        self._hidden = self._place.name if self._place and self._place.kind != "header" else ""
        self._unbounded = UNBOUNDED.search(self._template.text) is not None
        self.covers_body, self.covers_url = self._template.covers_body, self._template.covers_url
        places = (self._place, self._time_place)
        self.needs_url = self._template.needs_url or any(place and place.kind == "query" for place in places)
        self._has_time = self._time_place is not None or "timestamp" in self._form.places
        self.covers_time = self._has_time
        self.header = self._headers[0].replace(NUMBER_PLACE, "1") if self._headers else ""
        self._has_one_header = len(self._headers) == 1 and not self._is_numbered
        self._signs_id = "id" in self._template.names
        self._check_time()
        self._check_places()

    def _check_places(self) -> None:
        """Check that an id is read where one is signed, and that no signature signs itself; raises `ConfigError`."""
        if self._signs_id and "id" not in self._form.others and not self._id_place:
            raise ConfigError("a template with {id} needs id_header, or {id} in form")
        if self._place and self._place.kind == "field" and self._template.has_body:
            raise ConfigError("a signature in the body cannot sign {body}: write {form} or fields into signed")

    def _check_time(self) -> None:
        """Check that a timestamp is read where one is signed, and signed where one is read; raises `ConfigError`."""
        in_template = "timestamp" in self._template.names
        if in_template and not self._has_time:
            raise ConfigError("a template with {timestamp} needs timestamp_header, timestamp, or {timestamp} in form")
        kind = self._time_place.kind if self._time_place else ""
        self._is_time_in_body = kind == "field" and not in_template and "body" in self._template.names
        if (
            self._has_time
            and not in_template
            and not self._is_time_in_body
            and not (kind == "query" and self.covers_url)
        ):
            raise ConfigError("the timestamp is not signed: write {timestamp} into signed, or do not read a timestamp")
        if "timestamp" in self._form.places and self._time_place:
            raise ConfigError("the timestamp is in form and in another place: name one place")

    @property
    def place(self) -> str:
        """Where the signature is, in words."""
        return str(self._place) if self._place else self.header

    @abstractmethod
    def _match(self, context: Context, signatures: Sequence[str]) -> int | None:
        """Return the index of the key that made one of the signatures, or None; raises `SignatureError`."""

    @abstractmethod
    def _make(self, context: Context) -> str:
        """Return the signature, made with the first key; raises `SignatureError`, or `ConfigError` without a key."""

    # --- verify

    def verify(self, request: SignedRequest, now: float) -> Verified:
        """Check every signature that the request carries against every key."""
        if self.needs_url and not request.url:
            raise SignatureError("malformed-url", "missing: this scheme signs the URL")
        reading = Reading(request)
        seen: SignatureError | None = None
        for proof in islice(self._proofs(reading), MOST_GROUPS):
            try:
                return self._check(reading, proof, now)
            except SignatureError as error:
                seen = seen or (error if error.reason != "mismatch" else None)
        raise seen or SignatureError("mismatch", "no signature is by one of our keys")

    def _check(self, reading: Reading, proof: Proof, now: float) -> Verified:
        values, delivery_id = proof.values, None
        if self._id_place:
            values = {**values, "id": self._id_place.read(reading)}
        if self._signs_id:
            delivery_id = self._checked_id(values["id"])
        timestamp, moment = "", None
        if self._has_time and not self._is_time_in_body:
            timestamp = self._timestamp(reading, values)
            moment = self._in_time(timestamp, now)
        context = Context(reading, timestamp, values, hidden=self._hidden)
        index = self._match(context, proof.signatures)
        if index is None:
            raise SignatureError("mismatch", "no signature is by one of our keys")
        if self._is_time_in_body:
            reading.is_proven = True
            moment = self._in_time(self._timestamp(reading, values), now)
        return Verified(index, moment, delivery_id)

    def _proofs(self, reading: Reading) -> Iterator[Proof]:
        """Yield what each text of the signature says."""
        if self._place:
            texts = [self._place.read(reading)]
        elif self._has_one_header:
            texts = [reading.request.one(self.header)]
        else:
            texts = _once_each(self.carried(reading.request), self.header)
        if len(self._form.places) > 1:
            for text in texts:
                yield from self._form.read(text)
        else:
            yield Proof([signature for text in texts for signature in self._form.bare(text)])

    def _timestamp(self, reading: Reading, values: Mapping[str, str]) -> str:
        if self._time_place:
            return self._time_place.read(reading)
        return values.get("timestamp", "")

    def _in_time(self, timestamp: str, now: float) -> int:
        # With `{url}{timestamp}`, `?n=10` at 1700000000 and `?n=1` at 01700000000 are signed alike, and both in time.
        if timestamp.startswith("0") and self._unbounded:
            raise SignatureError("malformed-timestamp", "it begins with 0, and nothing divides it from what is before")
        try:
            milliseconds = read_milliseconds(timestamp, self._options.time_unit)
        except ValueError as error:
            raise SignatureError("malformed-timestamp", str(error)) from error
        return self._near(milliseconds, now)

    def _checked_id(self, delivery_id: str) -> str | None:
        if len(delivery_id) > LONGEST_SIGNED_ID or not VISIBLE.fullmatch(delivery_id):
            raise SignatureError("malformed-id", f"use 1 to {LONGEST_SIGNED_ID} printable ASCII characters")
        return delivery_id if self._template.bounds("id") else None

    # --- sign

    def sign(self, body: bytes, *, url: str, now: float, delivery_id: str) -> list[tuple[str, str]]:
        """Return the headers, signed with the first key.

        Raises `ConfigError` if the signature belongs into the query or the body; `sign_request` puts it there.
        """
        if self._place and self._place.kind != "header":
            raise ConfigError(f"the signature is {self.place}, not in a header: sign the whole request")
        request = self._with_values(SignedRequest("POST", url, [], body), now, delivery_id, headers_only=True)
        return list(self._signed(request, now, delivery_id).headers)

    def sign_request(self, request: SignedRequest, *, now: float, delivery_id: str) -> SignedRequest:
        """Return the request with timestamp, id and signature in their places; raises `ConfigError`."""
        return self._signed(self._with_values(request, now, delivery_id), now, delivery_id)

    def _with_values(
        self, request: SignedRequest, now: float, delivery_id: str, *, headers_only: bool = False
    ) -> SignedRequest:
        if self._time_place and not (headers_only and self._time_place.kind != "header"):
            request = self._time_place.write(request, write_time(now, self._options.time_unit))
        if self._id_place:
            request = self._id_place.write(request, delivery_id)
        for name in self._template.headers:
            if not request.all(name):
                value = request.url.partition("://")[2].partition("/")[0] if lower(name) == "host" else delivery_id
                request = ValuePlace("header", name).write(request, TYPES.get(lower(name), value or "0"))
        return request

    def _signed(self, request: SignedRequest, now: float, delivery_id: str) -> SignedRequest:
        if self.needs_url and not request.url:
            raise ConfigError("the scheme signs the URL: give one")
        timestamp, reading = write_time(now, self._options.time_unit), Reading(request)
        values = {**dict.fromkeys(self._form.others, delivery_id or "0"), "timestamp": timestamp, "id": delivery_id}
        try:
            if self._signs_id:
                self._checked_id(delivery_id)
            if self._time_place and "timestamp" in self._template.names:
                timestamp = self._time_place.read(reading)
            signature = self._make(Context(reading, timestamp, values, hidden=self._hidden))
        except SignatureError as error:
            raise ConfigError(str(error)) from error
        place = self._place or ValuePlace("header", self.header)
        return place.write(request, self._form.write({**values, "signature": signature}))

    def explanation(self) -> list[tuple[str, str]]:
        """Say what the options mean."""
        options = self._options
        how = options.form or options.prefix + "{signature}"
        rotation = f", several divided by {options.separator!r}" if options.separator else ""
        found = [
            *super().explanation()[:1],
            ("signature", f"{options.header or self.place}, as {how}{rotation}"),
            ("signed", "the body" if self._template.text == "{body}" else self._template.text),
        ]
        if self._has_time:
            where = str(self._time_place) if self._time_place else "in the signature's text"
            found.append(("time", f"{where}, in {NAMES[options.time_unit]}"))
        return found

    @property
    def _is_numbered(self) -> bool:
        return NUMBER_PLACE in self._options.header

    def carried(self, request: SignedRequest) -> list[tuple[str, str]]:
        """Return the signature headers: as many as the account has keys, if each key has a header of its own."""
        names = self._headers
        if self._is_numbered:
            names = [self._headers[0].replace(NUMBER_PLACE, str(number)) for number in range(1, MOST_NUMBERED + 1)]
        own = {lower(name): name for name in names}
        return [(own[lower(name)], value) for name, value in request.headers if lower(name) in own]


def _once_each(headers: Sequence[tuple[str, str]], first: str) -> list[str]:
    """Return the values of several headers; raises `SignatureError` if all are missing, or one is repeated."""
    found: dict[str, str] = {}
    for name, value in headers:
        if name in found:
            raise SignatureError("repeated-header", name)
        found[name] = value
    if not found:
        raise SignatureError("missing-header", first)
    return list(found.values())
