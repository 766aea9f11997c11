"""Protobuf message classes, described in Python: only the fields that are used, without generated code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto
Fields = Mapping[str, tuple[int, str]]
"""Number and type of each field."""


def message_classes(package: str, messages: Mapping[str, Fields]) -> dict[str, Any]:
    """A class for each message by its name; other fields of a message are skipped when it is read.

    A type is a scalar («string», «int64») or a message of the same package; with «*» it is repeated, with «{}» the value
    of a map from strings. An enum is read as «int32», which has the same encoding.
    """
    file = descriptor_pb2.FileDescriptorProto(name=package, package=package, syntax="proto3")
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field_name, (number, kind) in fields.items():
            if kind.endswith("{}"):
                entry = message.nested_type.add(name=f"{field_name.title()}Entry", options={"map_entry": True})
                _add(entry, "key", 1, "string", package)
                _add(entry, "value", 2, kind.removesuffix("{}"), package)
                kind = f"{name}.{entry.name}*"
            _add(message, field_name, number, kind, package)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in messages}


def _add(message: Any, name: str, number: int, kind: str, package: str) -> None:
    label = _FIELD.LABEL_REPEATED if kind.endswith("*") else _FIELD.LABEL_OPTIONAL
    field = message.field.add(name=name, number=number, label=label)
    kind = kind.removesuffix("*")
    if kind[0].isupper():
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{package}.{kind}"
    else:
        field.type = _FIELD.Type.Value(f"TYPE_{kind.upper()}")
