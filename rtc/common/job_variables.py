"""Which environment variables of a worker its jobs get: those that sleap-nn would see by hand, without secrets.

It is a list of what may pass, because a package can run code and read the environment: models are pickles, and a
configuration can name variables (OmegaConf's `${oc.env:NAME}`). The list was made from what the libraries below
sleap-nn 0.3.5 read: their `os.environ` and `getenv`, and the names in their compiled parts.

Left out on purpose is what says how the *worker* was started, since a job is another program. With `SLURM_NTASKS`,
Lightning takes itself for one of the tasks of `srun` (`SLURMEnvironment.detect` in lightning 2.6): it refuses other
numbers of GPUs, waits for tasks that nobody starts, and on SIGUSR1 has SLURM requeue the worker's whole allocation.
`LOCAL_RANK`, `WORLD_SIZE`, `MASTER_ADDR`, `PL_TRAINER_*` and `LT_*` likewise.
"""

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from attrs import frozen


@frozen
class Group:
    """Environment variables that a job gets for one reason."""

    what: str
    """What they set, for the table in `docs/configuration.md`."""
    names: tuple[str, ...]
    """`*` stands for any characters. A name in small letters also fits in capitals."""


PASSED = (
    Group(
        "the system, the user, the language",
        (
            *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_*", "TZ", "TZDIR", "XDG_*"),
            *("LD_*", "GLIBC_TUNABLES", "NIX_LD", "NIX_LD_LIBRARY_PATH", "NIX_PROFILES", "NO_COLOR"),
        ),
    ),
    Group(
        "Python, virtual and conda environments, modules of a cluster, containers",
        (
            *(
                "PYTHON*",
                "VIRTUAL_ENV",
                "CONDA_*",
                "MAMBA_*",
                "PIXI_*",
                "PYENV_*",
                "LMOD_*",
                "MODULE*",
                "LOADEDMODULES",
            ),
            *("_LMFILES_", "EBROOT*", "EBVERSION*", "BASH_ENV", "BASH_FUNC_module*", "BASH_FUNC_ml*"),
            *("APPTAINER*", "SINGULARITY*"),
        ),
    ),
    Group(
        "proxies",
        ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "socks_proxy", "no_proxy"),
    ),
    Group(
        "certificates",
        (
            *("SSL_CERT_FILE", "SSL_CERT_DIR", "NIX_SSL_CERT_FILE", "*_CA_BUNDLE", "CURL_SSL_BACKEND", "OPENSSL_CONF"),
            *("OPENSSL_MODULES", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "HTTPLIB2_CA_CERTS"),
        ),
    ),
    Group(
        "caches and settings of libraries",
        (
            *("HF_*", "HUGGINGFACE_*", "TRANSFORMERS_*", "TOKENIZERS_PARALLELISM", "MPL*", "MATPLOTLIBRC"),
            *("FONTCONFIG_*", "IMAGEIO_*", "OPENCV_*", "TIFFFILE_*", "HDF5_*", "H5PY_*", "FSSPEC_*", "WANDB_*"),
            *("HYDRA_*", "OC_CAUSE", "LOGURU_*", "TQDM_*", "NUMPY_*", "NPY_*", "SCIPY_*", "SKLEARN_*", "SKIMAGE_*"),
            *("PANDAS_*", "NETWORKX_*", "NUMBA_*", "PYDANTIC_*", "PROTOCOL_BUFFERS_*", "SLEAP_NN_*", "SLEAP_IO_*"),
        ),
    ),
    Group(
        "PyTorch, and compilers, which it may run",
        (
            *("PYTORCH_*", "TORCH_*", "TORCHINDUCTOR_*", "TORCHDYNAMO_*", "TORCHVISION_*", "AOT_*", "AOTINDUCTOR_*"),
            *("TRITON_*", "ATEN_*", "KINETO_*", "GLOO_*", "CUBLAS_*", "CUTLASS_*", "CC", "CXX", "CPP", "CPATH"),
            *("C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS"),
            *("NVCC_*", "MAX_JOBS"),
        ),
    ),
    Group(
        "GPUs of NVIDIA",
        ("CUDA*", "CUDNN*", "NVIDIA_*", "NCCL_*", "NVTE_*", "NVSHMEM_*", "CUFFT_*", "CUSOLVER_*"),
    ),
    Group(
        "GPUs of AMD, Intel and Apple",
        (
            *("HIP*", "HSA_*", "ROCR_*", "ROCM_*", "ROCBLAS_*", "GPU_*", "AMD_*", "MIOPEN_*", "RCCL_*", "TENSILE_*"),
            *("ZE_*", "SYCL_*", "ONEAPI_*", "IGC_*", "NEO_*", "METAL_*", "MTL_*"),
        ),
    ),
    Group(
        "threads, maths libraries, memory",
        (
            *("OMP_*", "GOMP_*", "KMP_*", "MKL_*", "MKLROOT", "DNNL_*", "ONEDNN_*", "OPENBLAS_*", "GOTO_*", "BLIS_*"),
            *("VECLIB_*", "NUMEXPR_*", "TBB_*", "LOKY_*", "JOBLIB_*", "MALLOC_*", "TCMALLOC_*", "JEMALLOC_*"),
        ),
    ),
)
"""What a job gets of the worker's environment, unless its name looks like that of a secret."""

_SECRET_WORDS = re.compile(r"SECRET|TOKEN|KEY|PASS|CREDENTIAL|COOKIE|AUTH|(?:^|_)P(?:AT|WD)(?:_|$)", re.IGNORECASE)
_NO_SECRETS = ("TOKENIZERS_PARALLELISM",)
_USER_AND_PASSWORD = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*://)?[^\s/?#:]*:([^\s/?#]+)@")
"""What an address begins with (RFC 3986, section 3.2.1); of a proxy, the scheme may be left out."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_OURS = re.compile(r"SLEAP_RTC_.*", re.IGNORECASE | re.DOTALL)
SET_BY_US = ("TMPDIR", "PYTHONUNBUFFERED", "PYTHONPATH", "CUDA_VISIBLE_DEVICES")
"""What the worker decides for each job, whatever its own environment has; PYTHONPATH only begins with ours."""


def looks_secret(name: str) -> bool:
    """Return whether a variable of this name may hold a secret, going by the words in it."""
    return bool(_SECRET_WORDS.search(name)) and name not in _NO_SECRETS


def password_in(value: str) -> str:
    """Return the password in the address that a value is, as it stands there; empty if there is none."""
    found = _USER_AND_PASSWORD.match(value.strip())
    return "" if found is None else found[1]


def has_password(value: str) -> bool:
    """Return whether a value is an address with a password in it."""
    return bool(password_in(value))


def is_ours(name: str) -> bool:
    """Return whether this is a variable of sleap-rtc itself, which no job gets: some of them hold secrets."""
    return bool(_OURS.fullmatch(name))


def why_not_passed(name: str) -> str | None:
    """Return why jobs cannot be shown the variable of this name, although the worker's owner asks for it; or None."""
    if not _NAME.fullmatch(name):
        return "that is no name of an environment variable."
    if is_ours(name):
        return f"{name} is a setting of sleap-rtc itself, which no job gets."
    if name in SET_BY_US:
        return f"{name} is chosen by the worker for each job, so it need not be passed."
    return None


def describe_passed(names: Iterable[str], environ: Mapping[str, str]) -> list[str]:
    """Return sentences for a worker's owner about the variables that jobs get on request."""
    there, missing = ([name for name in names if (name in environ) is wanted] for wanted in (True, False))
    found = [f"Jobs are shown these variables of this worker, too: {', '.join(there)}."] if there else []
    if missing:
        found.append(f"Not set here, so no job gets it: {', '.join(missing)}. Set it where the worker is started.")
    return found


def is_passed(name: str) -> bool:
    """Return whether a job gets the variable of this name by itself."""
    if looks_secret(name) or is_ours(name):
        return False
    return any(_fits(name, pattern) for group in PASSED for pattern in group.names)


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name.lower() if pattern.islower() else name, pattern)
