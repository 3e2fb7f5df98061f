"""A job sees what sleap-nn would see by hand, and no secret."""

from pathlib import Path

import pytest

from rtc.common.job_variables import (
    PASSED,
    describe_passed,
    has_password,
    is_passed,
    looks_secret,
    password_in,
    why_not_passed,
)

ROOT = Path(__file__).parents[2]
BY_HAND = """
PATH HOME USER LOGNAME LANG LC_ALL LC_CTYPE TZ LD_LIBRARY_PATH LD_PRELOAD XDG_CACHE_HOME XDG_CONFIG_HOME
XDG_DATA_HOME PYTHONNOUSERSITE PYTHONUSERBASE PYTHONHASHSEED PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX PYTHONPATH
VIRTUAL_ENV CONDA_PREFIX CONDA_DEFAULT_ENV LMOD_CMD MODULEPATH LOADEDMODULES EBROOTCUDA APPTAINER_BIND http_proxy
https_proxy no_proxy all_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY SSL_CERT_FILE SSL_CERT_DIR
REQUESTS_CA_BUNDLE CURL_CA_BUNDLE AWS_CA_BUNDLE WEBSOCKET_CLIENT_CA_BUNDLE OPENSSL_CONF HF_HOME HF_HUB_CACHE
HF_HUB_OFFLINE HUGGINGFACE_HUB_CACHE TRANSFORMERS_CACHE TOKENIZERS_PARALLELISM MPLCONFIGDIR MPLBACKEND MATPLOTLIBRC
IMAGEIO_FFMPEG_EXE OPENCV_FFMPEG_CAPTURE_OPTIONS OPENCV_IO_MAX_IMAGE_PIXELS HDF5_USE_FILE_LOCKING HDF5_PLUGIN_PATH
WANDB_DIR WANDB_CACHE_DIR HYDRA_FULL_ERROR LOGURU_LEVEL SLEAP_IO_EXISTS_TTL SLEAP_NN_DISABLE_MPS TORCH_HOME
TORCH_CUDNN_V8_API_DISABLED PYTORCH_CUDA_ALLOC_CONF PYTORCH_ALLOC_CONF TORCHINDUCTOR_CACHE_DIR TORCHDYNAMO_DISABLE
TRITON_CACHE_DIR TRITON_PTXAS_PATH CC CXX CUBLAS_WORKSPACE_CONFIG CUDA_VISIBLE_DEVICES CUDA_DEVICE_ORDER CUDA_HOME
CUDA_LAUNCH_BLOCKING CUDA_CACHE_PATH CUDNN_PATH NVIDIA_TF32_OVERRIDE NCCL_DEBUG NCCL_SOCKET_IFNAME
HIP_VISIBLE_DEVICES HSA_OVERRIDE_GFX_VERSION ROCR_VISIBLE_DEVICES ROCM_PATH GPU_MAX_HW_QUEUES MIOPEN_USER_DB_PATH
MIOPEN_FIND_MODE ZE_AFFINITY_MASK OMP_NUM_THREADS KMP_DUPLICATE_LIB_OK KMP_AFFINITY MKL_NUM_THREADS
MKL_THREADING_LAYER OPENBLAS_NUM_THREADS NUMEXPR_MAX_THREADS LOKY_MAX_CPU_COUNT MALLOC_ARENA_MAX
MALLOC_TRIM_THRESHOLD_ DNNL_VERBOSE GOMP_CPU_AFFINITY
"""
NOT_FOR_JOBS = """
AWS_SECRET_ACCESS_KEY AWS_ACCESS_KEY_ID GITHUB_TOKEN GH_TOKEN HF_TOKEN HUGGINGFACE_HUB_TOKEN HF_PAT WANDB_API_KEY
WANDB_IDENTITY_TOKEN_FILE CUDA_TOKEN CONDA_TOKEN PYTHON_KEYRING_BACKEND TQDM_SLACK_TOKEN APPTAINER_DOCKER_PASSWORD
NCCL_PASSWD SSLKEYLOGFILE SSH_AUTH_SOCK GOOGLE_APPLICATION_CREDENTIALS NETRC X509_USER_PROXY KRB5CCNAME
SLEAP_RTC_ROOM_SECRET_A SLEAP_RTC_HOME SLEAP_RTC_ENV PGPASSWORD DATABASE_URL MY_LAB XAUTHORITY SLURM_NTASKS
SLURM_PROCID SLURM_JOB_ID SLURM_NTASKS_PER_NODE LOCAL_RANK RANK WORLD_SIZE NODE_RANK GROUP_RANK MASTER_ADDR
MASTER_PORT TORCHELASTIC_RUN_ID PL_TRAINER_DEVICES LT_DEVICES OMPI_COMM_WORLD_SIZE PMI_RANK LSB_JOBID
"""


@pytest.mark.parametrize("name", BY_HAND.split())
def test_sleap_nn_sees_what_it_would_see_by_hand(name: str) -> None:
    assert is_passed(name)


@pytest.mark.parametrize("name", NOT_FOR_JOBS.split())
def test_secrets_and_how_the_worker_was_started_are_not_shown(name: str) -> None:
    assert not is_passed(name)


def test_the_page_has_the_whole_list() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    for group in PASSED:
        row = f"| {group.what} | {', '.join(f'`{name}`' for name in group.names)} |"
        assert row in page, f"write into docs/configuration.md:\n{row}"


@pytest.mark.parametrize(
    ("value", "password"),
    [
        ("http://ada:geheim@proxy:3128", "geheim"),
        ("https://ada:p%40ss@proxy/", "p%40ss"),
        ("http://ada:a@b:c@proxy", "a@b:c"),
        ("ada:geheim@proxy:3128", "geheim"),
        ("socks5h://:geheim@proxy", "geheim"),
        ("http://proxy:3128", ""),
        ("http://ada@proxy:3128", ""),
        ("http://proxy/a:b@c", ""),
        ("/usr/bin:/opt/a@b/bin", ""),
        ("localhost,127.0.0.1:80", ""),
        ("", ""),
    ],
)
def test_the_password_in_an_address_is_found(value: str, password: str) -> None:
    assert (password_in(value), has_password(value)) == (password, bool(password))


def test_a_name_with_pass_in_it_is_secret_and_a_path_is_not() -> None:
    assert looks_secret("DBPASS")
    assert not looks_secret("CPATH")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("MY_DATA", None),
        ("WANDB_API_KEY", None),
        ("SLURM_JOB_ID", None),
        ("SLEAP_RTC_ROOM_SECRET_LAB", "of sleap-rtc itself"),
        ("sleap_rtc_home", "of sleap-rtc itself"),
        ("TMPDIR", "for each job"),
        ("CUDA_VISIBLE_DEVICES", "for each job"),
        ("", "no name"),
        ("A B", "no name"),
        ("A\n", "no name"),
    ],
)
def test_the_owner_may_let_jobs_see_anything_but_what_is_ours(name: str, why: str | None) -> None:
    said = why_not_passed(name)
    assert said is None if why is None else why in str(said)


def test_the_owner_hears_what_jobs_are_shown_and_what_is_not_there() -> None:
    assert describe_passed((), {}) == []
    shown, missing = describe_passed(("MY_DATA", "GONE"), {"MY_DATA": "a value"})
    assert "MY_DATA" in shown
    assert "a value" not in shown
    assert "GONE" in missing
