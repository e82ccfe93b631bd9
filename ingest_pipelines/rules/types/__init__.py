"""The field types of design 4.1; TYPES names them all."""

from ingest_pipelines.rules.types.base import Cell, FieldKind, Rule
from ingest_pipelines.rules.types.contacts import EMAIL, IP
from ingest_pipelines.rules.types.documents import ARRAY, OBJECT, OBJECTS
from ingest_pipelines.rules.types.numbers import BOOL, DECIMAL, FLOAT, INT
from ingest_pipelines.rules.types.phones import PHONE, PHONES
from ingest_pipelines.rules.types.text import ENUM, STRING
from ingest_pipelines.rules.types.times import DATE, DATETIME

TYPES: dict[str, FieldKind] = {
    "string": STRING,
    "int": INT,
    "decimal": DECIMAL,
    "float": FLOAT,
    "bool": BOOL,
    "date": DATE,
    "datetime": DATETIME,
    "enum": ENUM,
    "object": OBJECT,
    "objects": OBJECTS,
    "array": ARRAY,
    "email": EMAIL,
    "phone": PHONE,
    "phones": PHONES,
    "ip": IP,
}

__all__ = ["TYPES", "Cell", "FieldKind", "Rule"]
