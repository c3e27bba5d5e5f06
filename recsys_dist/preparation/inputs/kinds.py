"""Recognizes files that are not text tables by their first bytes, regardless of their names.

In: the first bytes of an input file, unpacked. Out: the name of its format and what to do with it.
"""

from __future__ import annotations

import re
from dataclasses import replace

from recsys_dist.errors import DataError
from recsys_dist.preparation.inputs.json_text import has_object_lines, json_kind
from recsys_dist.preparation.inputs.sources import MAX_LINE_BYTES, InputFile, first_bytes

UNPACK = "which is not read; unpack it and name the files in it"
EXPORT = "which is not read; export the table as CSV or Parquet"
UTF_8 = "which must be converted to UTF-8 first"
NAMED = "whose name should end in "
"""Advice for formats that are read if the name has the right suffix."""
KINDS = (
    (rb"\x1f\x8b", "a gzip file", f"{NAMED}.gz"),
    (rb"BZh[1-9](1AY&SY|\x17rE8P\x90)", "a bzip2 file", f"{NAMED}.bz2"),
    (rb"(\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18)", "a Zstandard file", f"{NAMED}.zst"),
    # The name of the first member, near the start of a zip archive, reveals what kind of archive it is.
    (rb"PK\x03\x04.{26}(\[Content_Types\]|_rels/|docProps/|xl/)", "an Office document such as xlsx", EXPORT),
    (rb"PK\x03\x04.{26}mimetypeapplication/vnd\.oasis", "an OpenDocument file such as ods", EXPORT),
    (rb"PK\x03\x04.{26}[^\0/]{1,99}\.npy", "a NumPy archive (npz)", EXPORT),
    (rb"PK\x03\x04.{26}[^\0]{0,99}data\.pkl", "a PyTorch file", EXPORT),
    (rb"PK(\x03\x04|\x05\x06|\x07\x08)", "a zip archive", f"{NAMED}.zip"),
    (rb"PAR1\x15", "a Parquet file", f"{NAMED}.parquet"),
    (rb"PARE.{0,3}\0", "an encrypted Parquet file", EXPORT),
    (rb"\xfd7zXZ\0", "an xz file", UNPACK),
    (rb"\x5d\0\0", "an lzma file", UNPACK),
    (rb"LZIP\x01", "an lzip file", UNPACK),
    (rb"\x89LZO\0", "an lzop file", UNPACK),
    (rb"(\x04\x22\x4d|\x02\x21\x4c)\x18", "an lz4 file", UNPACK),
    (rb"\xff\x06\0\0sNaPpY", "a Snappy file", UNPACK),
    (rb"\x1f[\x9d\xa0]", "a compress file (.Z)", UNPACK),
    (rb"\x78[\x9c\xda].{0,64}[\0-\x08\x0e-\x1f]", "a zlib file", UNPACK),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (rb"Rar!\x1a\x07", "a rar archive", UNPACK),
    (rb"MSCF\0\0\0\0", "a cabinet archive", UNPACK),
    (rb"(07070[12][0-9A-Fa-f]{104}|070707[0-7]{70}|\xc7\x71)", "a cpio archive", UNPACK),
    (rb"!<arch>\n", "an ar archive", UNPACK),
    (rb"%%MatrixMarket ", "a Matrix Market file", "which is not read; write its entries as CSV"),
    (rb"SQLite format 3\0", "a SQLite database", EXPORT),
    (rb".{8}DUCK.\0{7}", "a DuckDB database", EXPORT),
    (rb"(.{512}|.{1024}|.{2048})?\x89HDF\r\n\x1a\n", "an HDF5 file", EXPORT),
    (rb"CDF[\x01\x02\x05]\0", "a NetCDF file", EXPORT),
    (rb"\x93NUMPY", "a NumPy array (npy)", EXPORT),
    (rb"\x80[\x02-\x05]", "a Python pickle", EXPORT),
    (rb".{3}\0{5}\{\"", "a safetensors file", EXPORT),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document such as xls", EXPORT),
    (rb"ORC.{0,32}[\0\x02-\x08\x0e-\x1a]", "an ORC file", EXPORT),
    (rb"Obj\x01", "an Avro file", EXPORT),
    (rb"(ARROW1\0\0|FEA1\0{4}|\xff{4})", "an Arrow or Feather file", EXPORT),
    (rb"(SEQ[\x04-\x06]|RCF\x01)", "a Hadoop sequence file", EXPORT),
    (rb"MATLAB [57]\.[0-9] MAT-file", "a MATLAB file", EXPORT),
    (rb"RD[XAB][23]\n", "an R data file", EXPORT),
    (rb"<stata_dta>", "a Stata file", EXPORT),
    (rb"\$FL[23]@\(#\)", "an SPSS file", EXPORT),
    (rb"%PDF-[0-9]", "a PDF document", "which is not read; name the table itself"),
    (
        rb"(\xef\xbb\xbf)?\s{0,64}(?i:<!DOCTYPE html|<html[\s>])",
        "an HTML page",
        "not a table; download the file again",
    ),
    (rb"(\xef\xbb\xbf)?\s{0,64}<\?xml", "an XML document", EXPORT),
    (rb"(\xff\xfe\0\0|\0\0\xfe\xff)", "UTF-32 text", UTF_8),
    (rb"(\xff\xfe|\xfe\xff)", "UTF-16 text", UTF_8),
)
"""(pattern of the first bytes, name of the format, advice)."""
TAR = "a tar archive, which is not read; unpack it and name its folder or the files in it"
TAR_NAME = re.compile(r"\.(tar(\.\w+)?|t(gz|az|bz|bz2|xz|zst|lz))$", re.IGNORECASE)
PACKED_NAME = re.compile(r"\.(br|deflate|lzo|lzo_deflate|snappy)$", re.IGNORECASE)
"""Compression formats without magic bytes."""
NO_TEXT = re.compile(rb"[\0-\x08\x0e-\x1a]")
TAR_BLOCK, TAR_CHECKSUM = 512, slice(148, 156)
PROBE_BYTES = 1 << 12


def check_beginning(file: InputFile, data: bytes) -> None:
    """Raise `DataError` naming the file if its first bytes, unpacked, show that it is not of its format.

    The format is delimited text or JSON Lines.
    """
    kind = _kind(file, data)
    if kind is not None:
        raise DataError(f"{file.name} is {kind}")
    found = json_kind(data)
    is_readable = found is None or (file.format == "json" and (found.is_lines or has_object_lines(data)))
    if found is not None and not is_readable:
        raise DataError(f"{file.name} is {found.name}, {found.advice}")


def recognized(file: InputFile) -> InputFile:
    """The file, with the format JSON Lines if that is what a file of another name begins with."""
    if file.format != "csv":
        return file
    kind = json_kind(first_bytes(file, MAX_LINE_BYTES + 1))
    return replace(file, format="json") if kind is not None and kind.is_lines else file


def kind_of(file: InputFile) -> str | None:
    """The actual format of a file named as Parquet, and what to do with it; None if unknown."""
    data = first_bytes(file, PROBE_BYTES)
    if not data or data.startswith(b"PAR1"):
        return None
    is_text = min(data) >= ord("\t")
    found = json_kind(data)
    told = found and f"{found.name}, {found.advice}"
    return _kind(file, data) or told or ("text; change its suffix" if is_text else None)


def _kind(file: InputFile, data: bytes) -> str | None:
    if _is_tar(data):
        return TAR
    for pattern, kind, advice in KINDS:
        if not re.match(pattern, data, re.DOTALL):
            continue
        if TAR_NAME.search(file.name):
            return TAR
        packing = file.packing or ("zip" if file.member is not None else None)
        if packing is not None and advice.startswith(NAMED):
            return f"{kind} packed by {packing}; unpack it first"
        return f"{kind}, {advice}"
    is_packed = PACKED_NAME.search(file.name) and NO_TEXT.search(data)
    return f"a packed file, {UNPACK}" if is_packed else None


def _is_tar(data: bytes) -> bool:
    """Whether the first block is a tar header of any dialect, by its checksum."""
    header = data[:TAR_BLOCK]
    checksum = header[TAR_CHECKSUM].strip(b" \0")
    if len(header) < TAR_BLOCK or not re.fullmatch(rb"[0-7]+", checksum):
        return False
    blank = b" " * len(header[TAR_CHECKSUM])
    return int(checksum, 8) == sum(header) - sum(header[TAR_CHECKSUM]) + sum(blank)
