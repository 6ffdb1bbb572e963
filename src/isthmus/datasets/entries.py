"""One entry for each named data set. A new one is an entry here: facts, layouts, and digests of a copy that is good."""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.datasets import layouts
from isthmus.datasets.digests import DIGESTS, ECG_MEANS
from isthmus.datasets.kdd_columns import KDD_COLUMNS
from isthmus.datasets.layouts import Layout
from isthmus.datasets.registry import DatasetInfo, RemoteFile

_RAW = "https://raw.githubusercontent.com"
_HALVES = {"train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")}
_HALVES["test"] = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def _idx_files(home: str, sums: Mapping[str, tuple[int, str]]) -> tuple[RemoteFile, ...]:
    return tuple(RemoteFile(f"{name}.gz", f"{home}/{name}.gz", size, sha) for name, (size, sha) in sums.items())


def _entry(name: str, **facts: object) -> DatasetInfo:
    return DatasetInfo(name, digests=DIGESTS.get(name, {}), **facts)  # type: ignore[arg-type]


def _same(splits: Mapping[str, int], *files: str) -> dict[str, tuple[str, ...]]:
    """Return one file for all splits."""
    return dict.fromkeys(splits, files)


_DIGITS = {"train": 60_000, "test": 10_000}

MNIST = _entry(
    "mnist",
    holds="28x28 grey handwritten digits (uint8), labels 0 to 9",
    kind="image",
    rows=_DIGITS,
    licence="CC BY-SA 3.0",
    homepage="http://yann.lecun.com/exdb/mnist/",
    citation="LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition. Proc. IEEE 1998",
    files=_idx_files(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        {
            "train-images-idx3-ubyte": (9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
            "train-labels-idx1-ubyte": (28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
            "t10k-images-idx3-ubyte": (1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
            "t10k-labels-idx1-ubyte": (4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        },
    ),
    layouts=(
        Layout(_HALVES, layouts.idx),
        Layout(_same(_DIGITS, "mnist.npz"), layouts.npz("x_{split}", "y_{split}")),
    ),
)

FASHION = _entry(
    "fashion-mnist",
    holds="28x28 grey pictures of clothes (uint8), labels 0 to 9",
    kind="image",
    rows=_DIGITS,
    licence="MIT",
    homepage="https://github.com/zalandoresearch/fashion-mnist",
    citation="Xiao, Rasul, Vollgraf: Fashion-MNIST: a novel image dataset for benchmarking machine learning "
    "algorithms. 2017, arXiv:1708.07747",
    files=_idx_files(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        {
            "train-images-idx3-ubyte": (26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
            "train-labels-idx1-ubyte": (29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
            "t10k-images-idx3-ubyte": (4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
            "t10k-labels-idx1-ubyte": (5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        },
    ),
    layouts=(
        Layout(_HALVES, layouts.idx),
        Layout(_same(_DIGITS, "fashion_mnist.npz"), layouts.npz("x_{split}", "y_{split}")),
    ),
)

NSL_KDD = _entry(
    "nsl-kdd",
    holds="41 features of network connections (numbers and 3 categories); labels: normal, or the name of the attack",
    kind="table",
    rows={"train": 125_973, "test": 22_544},
    licence="redistribution and mirroring allowed with citation (University of New Brunswick)",
    homepage="https://www.unb.ca/cic/datasets/nsl.html",
    citation="Tavallaee, Bagheri, Lu, Ghorbani: A detailed analysis of the KDD CUP 99 data set. IEEE CISDA 2009",
    files=(
        RemoteFile(
            "KDDTrain+.txt",
            f"{_RAW}/defcom17/NSL_KDD/master/KDDTrain%2B.txt",
            19_109_424,
            "1b86d2f957b33082081bba410fe129b475efebcc13c9014c3f447c8271aadf95",
        ),
        RemoteFile(
            "KDDTest+.txt",
            f"{_RAW}/defcom17/NSL_KDD/master/KDDTest%2B.txt",
            3_441_513,
            "fa46b0935342616aa83b7c2578db355b6a7aaabbc492248172c7a1e8b7ab8f84",
        ),
    ),
    layouts=(
        Layout(
            {"train": ("KDDTrain+.txt",), "test": ("KDDTest+.txt",)},
            layouts.csv("label", list(KDD_COLUMNS), ["difficulty"], KDD_COLUMNS),
        ),
        Layout(
            {"train": ("nslkdd_train.parquet",), "test": ("nslkdd_test.parquet",)},
            layouts.parquet("label", ["difficulty"]),
        ),
    ),
)

_ECG = {"train": 500, "test": 4500}

ECG5000 = _entry(
    "ecg5000",
    holds="heartbeats of 140 steps (float32); labels 0 = normal, 1 = any of the four other classes",
    kind="series",
    rows=_ECG,
    licence="UCR archive; its source, PhysioNet chfdb, ODC-By",
    homepage="https://www.timeseriesclassification.com/description.php?Dataset=ECG5000",
    citation="Chen, Keogh et al.: The UCR time series classification archive. 2015; Goldberger et al.: PhysioBank, "
    "PhysioToolkit and PhysioNet. Circulation 2000",
    files=(RemoteFile("ECG5000.zip", "https://www.timeseriesclassification.com/aeon-toolkit/ECG5000.zip", 10_000_000),),
    layouts=(
        *(
            Layout({s: (f"ECG5000_{s.upper()}.{kind}",) for s in _ECG}, layouts.ucr("ECG5000"), ECG_MEANS)
            for kind in ("txt", "tsv", "ts")
        ),
        Layout(_same(_ECG, "ECG5000.zip"), layouts.ucr("ECG5000"), ECG_MEANS),
        Layout(_same(_ECG, "ecg5000.npz"), layouts.ecg5000),
    ),
)

_CHARACTERS = {"train": 19_280, "test": 13_180}

OMNIGLOT = _entry(
    "omniglot",
    holds="28x28 handwritten characters of 50 alphabets (uint8, strokes white), labels: number of the character",
    kind="image",
    rows=_CHARACTERS,
    licence="MIT",
    homepage="https://github.com/brendenlake/omniglot",
    citation="Lake, Salakhutdinov, Tenenbaum: Human-level concept learning through probabilistic program induction. "
    "Science 2015",
    layouts=(Layout(_same(_CHARACTERS, "omniglot28.npz"), layouts.npz("x_{split}", "char_{split}")),),
)

_SMALL = {"train": 4000, "test": 1000}

MNIST1D = _entry(
    "mnist1d",
    holds="series of 40 steps (float32) that stand for digits, labels 0 to 9",
    kind="series",
    rows=_SMALL,
    licence="Apache-2.0",
    homepage="https://github.com/greydanus/mnist1d",
    citation="Greydanus, Kobak: Scaling down deep learning with MNIST-1D. ICML 2024, arXiv:2011.14439",
    # The published file is a pickle, which is never read here.
    layouts=(Layout(_same(_SMALL, "mnist1d.npz"), layouts.npz("x_{split}", "y_{split}")),),
)

_LUNGS = {"train": 4708, "val": 524, "test": 624}

PNEUMONIA = _entry(
    "pneumoniamnist",
    holds="28x28 grey chest X-rays of children (uint8), labels 1 = pneumonia",
    kind="image",
    rows=_LUNGS,
    licence="CC BY 4.0",
    homepage="https://medmnist.com",
    citation="Yang et al.: MedMNIST v2. Scientific Data 2023; Kermany et al.: Identifying medical diagnoses and "
    "treatable diseases by image-based deep learning. Cell 2018",
    ordered=False,
    layouts=(Layout(_same(_LUNGS, "pneumoniamnist.npz"), layouts.npz("{split}_images", "{split}_labels")),),
)

NAB = _entry(
    "nab",
    holds="35 series of measurements as a table of series, timestamp and value; labels 1 = in an anomaly's window",
    kind="table",
    rows={"all": 181_653},
    licence="MIT",
    homepage="https://github.com/numenta/NAB",
    citation="Ahmad, Lavin, Purdy, Agha: Unsupervised real-time anomaly detection for streaming data. "
    "Neurocomputing 2017",
    layouts=(Layout({"all": ("nab.parquet",)}, layouts.parquet("in_window")),),
)


def _smd(machine: str, train: int, test: int) -> DatasetInfo:
    home = f"{_RAW}/NetManAIOps/OmniAnomaly/master/ServerMachineDataset"
    rows = {"train": train, "test": test}
    parts: dict[str, tuple[str, ...]] = {"train": (f"train/{machine}.txt",)}
    parts["test"] = (f"test/{machine}.txt", f"test_label/{machine}.txt")
    sizes = {name: (2 if "label" in name else 360) * train for part in parts.values() for name in part}
    return _entry(
        f"smd-{machine}",
        holds="38 measurements of a server, one row a minute (float32); labels of the test rows: 1 = anomaly",
        kind="series",
        rows=rows,
        licence="MIT",
        homepage="https://github.com/NetManAIOps/OmniAnomaly",
        citation="Su et al.: Robust anomaly detection for multivariate time series through stochastic recurrent neural "
        "network. KDD 2019",
        files=tuple(RemoteFile(name, f"{home}/{name}", size) for name, size in sizes.items()),
        layouts=(
            Layout(parts, layouts.numbers),
            Layout(_same(rows, "smd_2machines.npz"), layouts.smd(machine)),
        ),
    )


# name: (rows, columns) of the tables of ADBench that are read here
_ADBENCH = {
    "18_Ionosphere": (351, 32),
    "20_letter": (1600, 32),
    "23_mammography": (11183, 6),
    "25_musk": (3062, 166),
    "26_optdigits": (5216, 64),
    "28_pendigits": (6870, 16),
    "2_annthyroid": (7200, 6),
    "30_satellite": (6435, 36),
    "32_shuttle": (49097, 9),
    "38_thyroid": (3772, 6),
    "43_WDBC": (367, 30),
    "6_cardio": (1831, 21),
}


def _adbench(stem: str, rows: int, columns: int) -> DatasetInfo:
    read = layouts.npz("X", "y", ("<f4", "|i1"))
    file = f"{stem}.npz"
    url = f"{_RAW}/Minqi824/ADBench/main/adbench/datasets/Classical/{file}"
    return _entry(
        f"adbench-{stem.partition('_')[2].lower()}",
        holds=f"{columns} numbers in each row (float32), labels 1 = anomaly",
        kind="vector",
        rows={"all": rows},
        licence="BSD-2-Clause (ADBench); the original from the UCI repository, CC BY 4.0",
        homepage="https://github.com/Minqi824/ADBench",
        citation="Han, Hu, Huang, Jiang, Zhao: ADBench: anomaly detection benchmark. NeurIPS 2022",
        files=(RemoteFile(file, url, 8 * rows * (columns + 1) + 1000),),
        layouts=(Layout({"all": (f"adbench/{file}",)}, read), Layout({"all": (file,)}, read)),
    )


KODAK = _entry(
    "kodak",
    holds="24 photographs of 768x512 or 512x768 (uint8 RGB)",
    kind="image",
    rows={"all": 24},
    licence="released by Kodak for unrestricted use",
    homepage="http://r0k.us/graphics/kodak/",
    citation="Eastman Kodak: Kodak lossless true color image suite (PhotoCD PCD0992). 1993",
    files=tuple(
        RemoteFile(f"kodim{n:02}.png", f"http://r0k.us/graphics/kodak/kodak/kodim{n:02}.png", 640_000)
        for n in range(1, 25)
    ),
    layouts=(
        Layout({"all": tuple(f"kodim{n:02}.png" for n in range(1, 25))}, layouts.pictures),
        Layout({"all": ("kodak24.zip",)}, layouts.pictures),
    ),
)

MOVIELENS = _entry(
    "movielens-small-2016",
    holds="100,004 ratings of 671 users for 9,066 movies: userId, movieId, rating, timestamp. GroupLens now offers a "
    "newer version under the old name",
    kind="ratings",
    rows={"all": 100_004},
    licence="research, not commercial; redistribution under the same terms (GroupLens)",
    homepage="https://grouplens.org/datasets/movielens/",
    citation="Harper, Konstan: The MovieLens datasets: history and context. ACM TiiS 2015",
    layouts=(Layout({"all": ("ml_latest_small_ratings.parquet",)}, layouts.parquet()),),
)

TATOEBA = _entry(
    "tatoeba-en",
    holds="116,830 different English sentences, shuffled",
    kind="text",
    rows={"all": 116_830},
    licence="CC BY 2.0 FR; attribution: tatoeba.org and www.manythings.org/anki",
    homepage="https://tatoeba.org/downloads",
    citation="Tatoeba: a collection of sentences and translations. https://tatoeba.org",
    layouts=(Layout({"all": ("tatoeba_en.txt",)}, layouts.lines),),
)

_ZINC = "250k_rndm_zinc_drugs_clean.smi"
ZINC = _entry(
    "zinc250k",
    holds="249,456 drug-like molecules as SMILES",
    kind="text",
    rows={"all": 249_456},
    licence="free to use; ZINC asks not to redistribute major portions",
    homepage="https://github.com/mkusner/grammarVAE",
    citation="Irwin, Sterling, Mysinger, Bolstad, Coleman: ZINC: a free tool to discover chemistry for biology. JCIM "
    "2012; Kusner, Paige, Hernández-Lobato: Grammar variational autoencoder. ICML 2017",
    files=(
        RemoteFile(
            _ZINC,
            f"{_RAW}/mkusner/grammarVAE/master/data/{_ZINC}",
            11_303_042,
            "f900b46bb42b77aab37cd827d1ea474e2a037ecab2bd7def2b6027492216d36a",
        ),
    ),
    layouts=(Layout({"all": (_ZINC,)}, layouts.lines), Layout({"all": ("zinc250k.smi",)}, layouts.lines)),
)

QM9 = _entry(
    "qm9",
    holds="133,885 small molecules as SMILES",
    kind="text",
    rows={"all": 133_885},
    licence="CC0",
    homepage="http://quantum-machine.org/datasets/",
    citation="Ramakrishnan, Dral, Rupp, von Lilienfeld: Quantum chemistry structures and properties of 134 kilo "
    "molecules. Scientific Data 2014",
    layouts=(Layout({"all": ("qm9.smi",)}, layouts.lines),),
)

_SOLUBILITY = layouts.csv("measured log solubility in mols per litre")
ESOL = _entry(
    "esol",
    holds="1,128 molecules as SMILES with 8 descriptors; labels: measured log solubility in mols per litre",
    kind="table",
    rows={"all": 1128},
    licence="MIT (deepchem)",
    homepage="https://github.com/deepchem/deepchem",
    citation="Delaney: ESOL: estimating aqueous solubility directly from molecular structure. J. Chem. Inf. Comput. "
    "Sci. 2004",
    files=(
        RemoteFile(
            "delaney-processed.csv",
            "https://deepchemdata.s3-us-west-1.amazonaws.com/datasets/delaney-processed.csv",
            96_699,
        ),
    ),
    layouts=(
        Layout({"all": ("delaney-processed.csv",)}, _SOLUBILITY),
        Layout({"all": ("esol.csv",)}, _SOLUBILITY),
    ),
)

_MACHINES = (_smd("machine-1-6", 23_688, 23_689), _smd("machine-2-1", 23_693, 23_694))
_TABLES = tuple(_adbench(stem, *shape) for stem, shape in _ADBENCH.items())

ENTRIES: dict[str, DatasetInfo] = {
    entry.name: entry
    for entry in (
        *(MNIST, FASHION, NSL_KDD, ECG5000, OMNIGLOT, MNIST1D, PNEUMONIA, NAB, *_MACHINES, *_TABLES),
        *(KODAK, MOVIELENS, TATOEBA, ZINC, QM9, ESOL),
    )
}
