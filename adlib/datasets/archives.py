"""Where each dataset is published, under which licence, and what its archive must hash to.

SHA-256 values are those that anomalib's data modules check (MVTec AD, VisA, BTAD, DTD); where
none is published it is None, and that of what was fetched is written beside it. Addresses rot:
the homepage is where to look for the present one.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Archive:
    """One published dataset.

    `filename` is the archive's name in `<data root>/archives`, empty where there is no single one;
    `urls` are tried in order, and empty where only a browser gets it; `marker` is an entry of the
    folder, inside the archive, that becomes `<data root>/<dataset>`.
    """

    dataset: str
    title: str
    filename: str
    urls: tuple[str, ...]
    sha256: str | None
    marker: str
    licence: str
    cite: str
    homepage: str
    note: str = ""


_BY_NC_SA = "CC BY-NC-SA 4.0 (no commercial use)"

_ALL = (
    Archive(
        "mvtec",
        "MVTec AD",
        "mvtec_anomaly_detection.tar.xz",
        (
            "https://www.mydrive.ch/shares/38536/3830184030e49fe74747669442f0f282/"
            "download/420938113-1629952094/mvtec_anomaly_detection.tar.xz",
        ),
        "cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d",
        "bottle",
        _BY_NC_SA,
        "Bergmann et al., 'MVTec AD', CVPR 2019 and IJCV 2021",
        "https://www.mvtec.com/company/research/datasets/mvtec-ad",
        "The page may ask for a form to be filled in, and its links change.",
    ),
    Archive(
        "mpdd",
        "MPDD, metal parts",
        "MPDD.zip",
        (),
        None,
        "bracket_black",
        f"{_BY_NC_SA} as anomalib states it; the authors' page names none",
        "Jezek et al., 'Deep learning-based defect detection of metal parts', ICUMT 2021",
        "https://github.com/stepanje/MPDD",
        "The page links to a shared folder: download it whole and save it under the name MPDD.zip.",
    ),
    Archive(
        "visa",
        "VisA (1.9 GB)",
        "VisA_20220922.tar",
        ("https://amazon-visual-anomaly.s3.us-west-2.amazonaws.com/VisA_20220922.tar",),
        "2eb8690c803ab37de0324772964100169ec8ba1fa3f7e94291c9ca673f40f362",
        "split_csv",
        "CC BY 4.0",
        "Zou et al., 'SPot-the-Difference', ECCV 2022",
        "https://github.com/amazon-science/spot-diff",
    ),
    Archive(
        "btad",
        "BTAD, beanTech",
        "btad.zip",
        (
            "https://avires.dimi.uniud.it/papers/btad/btad.zip",
            "http://avires.dimi.uniud.it/papers/btad/btad.zip",
        ),
        "461c9387e515bfed41ecaae07c50cf6b10def647b36c9e31d239ab2736b10d2a",
        "01",
        f"{_BY_NC_SA} as anomalib states it",
        "Mishra et al., 'VT-ADL', ISIE 2021",
        "https://github.com/pankajmishra000/VT-ADL",
    ),
    Archive(
        "mvtec3d",
        "MVTec 3D-AD",
        "mvtec_3d_anomaly_detection.tar.xz",
        (
            "https://www.mydrive.ch/shares/45920/dd1eb345346df066c63b5c95676b961b/"
            "download/428824485-1643285832/mvtec_3d_anomaly_detection.tar.xz",
        ),
        None,
        "bagel",
        _BY_NC_SA,
        "Bergmann et al., 'The MVTec 3D-AD Dataset', VISAPP 2022",
        "https://www.mvtec.com/company/research/datasets/mvtec-3d-ad",
        "The page may ask for a form to be filled in, and its links change.",
    ),
    Archive(
        "eyecandies",
        "Eyecandies",
        "",
        (),
        None,
        "CandyCane",
        "none stated on the authors' page: ask them",
        "Bonfiglioli et al., 'The Eyecandies Dataset', ACCV 2022",
        "https://eyecan-ai.github.io/eyecandies/download",
        "Ten archives, one a category, behind a browser check; each is a tar, whatever its name "
        "says. Unpack each into a folder with the category's name in one word: CandyCane, ...",
    ),
    Archive(
        "mtd",
        "Magnetic Tile Defects",
        "Magnetic-tile-defect-datasets.-master.zip",
        ("https://github.com/abin24/Magnetic-tile-defect-datasets./archive/refs/heads/master.zip",),
        None,
        "MT_Free",
        "none stated; the authors welcome its use in research with a citation",
        "Huang et al., 'Surface defect saliency of magnetic tile', The Visual Computer 2020",
        "https://github.com/abin24/Magnetic-tile-defect-datasets.",
    ),
    Archive(
        "aitex",
        "AITEX fabrics, cut into 256 x 256 tiles",
        "",
        (),
        None,
        "fabric",
        "research use",
        "Silvestre-Blanes et al., 'A Public Fabric Database for Defect Detection', AUTEX 2019",
        "https://www.aitex.es/afid/",
        "The tiles and their split are ours: unpack what AITEX publishes into a folder, and cut it with "
        "`python -m adlib.datasets.aitex FOLDER --root ROOT`, where ROOT is the data root.",
    ),
    Archive(
        "dtd",
        "Describable Textures Dataset r1.0.1 (625 MB)",
        "dtd-r1.0.1.tar.gz",
        ("https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",),
        "e42855a52a4950a3b59612834602aa253914755c95b0cff9ead6d07395f8e205",
        "images",
        "research use",
        "Cimpoi et al., 'Describing Textures in the Wild', CVPR 2014",
        "https://www.robots.ox.ac.uk/~vgg/data/dtd/",
    ),
)

ARCHIVES: dict[str, Archive] = {archive.dataset: archive for archive in _ALL}
