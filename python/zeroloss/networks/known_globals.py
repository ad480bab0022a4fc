"""The globals that pickles of PyTorch may mention, as names. Nothing is imported from them."""

from __future__ import annotations

Name = tuple[str, str]  # module and name

#: NumPy's letters for the entries of a storage. bfloat16 and 8-bit floats have none and are read as bits.
STORAGE_LETTERS = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "u2",
    "ComplexDoubleStorage": "c16",
    "ComplexFloatStorage": "c8",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
    "UntypedStorage": "u1",
}

#: The letters of types that have no separate storage type.
UNTYPED_LETTERS = {
    "uint16": "u2",
    "uint32": "u4",
    "uint64": "u8",
    "float8_e4m3fn": "u1",
    "float8_e4m3fnuz": "u1",
    "float8_e5m2": "u1",
    "float8_e5m2fnuz": "u1",
    "float8_e8m0fnu": "u1",
}

STORAGES = frozenset(
    {*(("torch", name) for name in STORAGE_LETTERS if name != "UntypedStorage"), ("torch.storage", "UntypedStorage")}
)

#: PyTorch's types of numbers.
DTYPES = frozenset(
    ("torch", name)
    for names in (
        (
            "float16",
            "float32",
            "float64",
            "bfloat16",
            "half",
            "float",
            "double",
            "complex32",
            "complex64",
            "complex128",
        ),
        ("int8", "int16", "int32", "int64", "uint8", "short", "int", "long", "bool"),
        UNTYPED_LETTERS,
    )
    for name in names
)

#: The functions that make tensors.
REBUILDS = frozenset(
    {
        ("torch._utils", "_rebuild_tensor"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_tensor_v3"),
        ("torch._utils", "_rebuild_parameter"),
        ("torch._utils", "_rebuild_parameter_with_state"),
        ("torch._tensor", "_rebuild_from_type_v2"),
        ("torch", "Tensor"),
        ("torch.nn.parameter", "Parameter"),
        ("torch.nn.parameter", "Buffer"),
    }
)

#: The functions that make tensors without a strided storage, which are not read.
OTHER_TENSORS = {
    ("torch._utils", "_rebuild_sparse_tensor"): "sparse",
    ("torch._utils", "_rebuild_sparse_csr_tensor"): "sparse",
    ("torch._utils", "_rebuild_nested_tensor"): "nested",
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): "meta",
}

_LIGHTNING = (
    "lightning.fabric.utilities.data",
    "lightning_fabric.utilities.data",
    "lightning.pytorch.utilities.parsing",
    "pytorch_lightning.utilities.parsing",
)
_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
_BUILTINS = ("builtins", "__builtin__")
_PATHS = ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")

#: Types that are read as dictionaries.
DICTIONARIES = frozenset({("collections", "OrderedDict"), ("collections", "defaultdict"), ("collections", "Counter")})

#: Types of which an instance may be made without a call: Lightning's dictionaries, namespaces and others.
WRAPPERS = {
    **{(module, "AttributeDict"): "dictionary" for module in _LIGHTNING},
    ("argparse", "Namespace"): "value",
    ("types", "SimpleNamespace"): "value",
    ("torch.torch_version", "TorchVersion"): "value",
    ("uuid", "UUID"): "value",
}

NUMPY_SCALARS = frozenset((module, "scalar") for module in _NUMPY)
NUMPY_ARRAYS = frozenset((module, "_reconstruct") for module in _NUMPY)
NUMPY_TYPE = ("numpy", "dtype")
ENCODES = frozenset({("_codecs", "encode"), *((module, "bytes") for module in _BUILTINS)})

#: Containers that are read as lists.
LISTS = frozenset((module, name) for module in _BUILTINS for name in ("set", "frozenset", "list", "tuple")) | {
    ("collections", "deque"),
    ("torch", "Size"),
}

#: Types and functions whose values are not used.
VALUES = frozenset(
    {
        *(
            (module, name)
            for module in _BUILTINS
            for name in ("complex", "bytearray", "range", "xrange", "slice", "dict")
        ),
        *((module, name) for module in _BUILTINS for name in ("int", "long", "float", "str", "unicode", "bool")),
        *(("datetime", name) for name in ("date", "datetime", "time", "timedelta", "timezone")),
        *((module, name) for module in ("pathlib", "pathlib._local") for name in _PATHS),
        ("decimal", "Decimal"),
        ("fractions", "Fraction"),
        ("numpy", "ndarray"),
        *(("numpy", name) for name in ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "bool_")),
        ("torch", "device"),
        ("torch.serialization", "_get_layout"),
        ("types", "SimpleNamespace"),
    }
)
