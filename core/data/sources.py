"""A table of the addresses of all datasets.

Addresses and hashes agree with those in torchvision and TensorFlow Datasets, whose own downloaders
start over after an interruption.
"""

from typing import NamedTuple


class File(NamedTuple):
    """An archive that holds a whole dataset."""

    url: str  # https:// or http://, or drive: and an id of Google Drive
    name: str  # its file name here, different for different content
    size: int = 0  # bytes, some rounded, for display; 0: unknown
    sha256: str = ""  # "": unknown


class Entry(NamedTuple):
    """A dataset's folder, archives and size.

    ``parts`` are the files and folders that ``ROOT/folder`` must hold, pictures last; each is a
    name, followed by its other names in some archives. An archive may hold them at any depth, side
    by side.
    """

    folder: str
    parts: tuple[tuple[str, ...], ...]
    sources: tuple[File, ...]  # tried in this order
    classes: int
    counts: tuple[int, int, int]  # pictures in train, val and test of CoOp's split
    licence: str
    home: str
    lists: File | None = None  # official lists that --make-split needs
    package: tuple[str, ...] = ()  # files of core/assets/splits that go beside the pictures


HUB = "https://huggingface.co"
# Every dataset but ImageNet in CoOp's layout, by the authors of PromptKD.
BUNDLE = f"{HUB}/zhengli97/prompt_learning_dataset/resolve/ceb3112337fb6e1bf71534e355ca5569b63f19a6"
OXFORD = "https://www.robots.ox.ac.uk/~vgg/data"
BERKELEY = "https://people.eecs.berkeley.edu/~hendrycks"
NAMES = ("imagenet_classnames.txt",)
RESEARCH = "research only"
UNSTATED = "none stated"


def _bundle(name: str, size: int = 0, sha256: str = "") -> File:
    return File(f"{BUNDLE}/{name}", f"bundle-{name}", size, sha256)


SOURCES = {
    "imagenet": Entry(
        "imagenet",
        (("images/train",), ("images/val",)),
        (),  # behind an account, see ilsvrc.py
        1000,
        (1_281_167, 50_000, 50_000),
        "non-commercial research, with an account",
        "https://image-net.org/download-images.php",
        package=NAMES,
    ),
    "caltech101": Entry(
        "caltech-101",
        (("101_ObjectCategories",),),
        (
            File(
                "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
                "caltech-101.zip",
                137_414_764,
                "331234750fc7f77520e50d9565e8b6907b03565e30320da1401130db08c61f91",
            ),
            _bundle("caltech-101.zip"),
        ),
        100,
        (4128, 1649, 2465),
        "CC BY 4.0",
        "https://data.caltech.edu/records/mzrjq-6wc02",
    ),
    "oxford_pets": Entry(
        "oxford_pets",
        (("images",),),
        (
            File(
                f"{OXFORD}/pets/data/images.tar.gz",
                "images.tar.gz",
                791_918_971,
                "67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
            ),
            _bundle("oxford_pets.zip"),
        ),
        37,
        (2944, 736, 3669),
        "CC BY-SA 4.0",
        f"{OXFORD}/pets/",
    ),
    "stanford_cars": Entry(  # the authors' own archives are gone: pytorch/vision issue 7545
        "stanford_cars",
        (("cars_train",), ("cars_test",)),
        (
            _bundle(
                "stanford_cars.zip",
                1_959_002_685,
                "50812812f33534ef2906b992762f96e8a5bb57b0eedc53800e91b7ed599abf8e",
            ),
            File(
                f"{HUB}/datasets/koorye/Stanford-Cars/resolve/main/stanford_cars.tar.gz",
                "stanford_cars.tar.gz",
            ),
        ),
        196,
        (6509, 1635, 8041),
        RESEARCH,
        "https://doi.org/10.1109/ICCVW.2013.77",
    ),
    "oxford_flowers": Entry(
        "oxford_flowers",
        (("jpg",),),
        (
            File(
                f"{OXFORD}/flowers/102/102flowers.tgz",
                "102flowers.tgz",
                344_862_509,
                "2d01ecc807db462958cfe3d92f57a8c252b4abd240eb955770201e45f783b246",
            ),
            _bundle(
                "oxford_flowers.zip",
                346_454_039,
                "bd8d090f0f28581458243cfe4d4a7b1cd5f3a3a8840096adb8bb7ad80020907e",
            ),
        ),
        102,
        (4093, 1633, 2463),
        UNSTATED,
        f"{OXFORD}/flowers/102/",
        package=("cat_to_name.json",),
    ),
    "food101": Entry(
        "food-101",
        (("images",),),
        (
            File(
                "http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",
                "food-101.tar.gz",
                4_996_278_331,
                "d97d15e438b7f4498f96086a4f7e2fa42a32f2712e87d3295441b2b6314053a4",
            ),
            _bundle(
                "food101.zip",
                5_005_224_796,
                "b9f59577fcc4f85183b7a102b6f84eecf338fde6453fa486309dc2951efeb254",
            ),
        ),
        101,
        (50_500, 20_200, 30_300),
        RESEARCH,
        "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
    ),
    "fgvc_aircraft": Entry(
        "fgvc_aircraft",
        (
            ("variants.txt",),
            ("images_variant_train.txt",),
            ("images_variant_val.txt",),
            ("images_variant_test.txt",),
            ("images",),
        ),
        (
            File(
                f"{OXFORD}/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
                "fgvc-aircraft-2013b.tar.gz",
                2_770_575_360,
                "d5f68b1b81d6d7831eb9d5c5517074176b5dfbce6bcb43dc14ed1c66a87b8d75",
            ),
            _bundle("fgvc_aircraft.zip"),
        ),
        100,
        (3334, 3333, 3333),
        "non-commercial research",
        f"{OXFORD}/fgvc-aircraft/",
    ),
    "sun397": Entry(
        "sun397",
        (("SUN397",),),
        (
            _bundle(
                "sun397.zip",
                39_182_693_483,
                "ce6dee6685c9f1d592c8297e193dde885aa9c50d008fd998a38ccc57a3dda722",
            ),
            File(  # answered 404 in 2026: pytorch/vision issue 9348
                "https://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz",
                "SUN397.tar.gz",
                39_077_296_924,
                "f404130965a7ad77bed5ececc71e720ab50f3cc1e1bb257257610d38f3b928ec",
            ),
        ),
        397,
        (15_880, 3970, 19_850),
        UNSTATED,
        "https://3dvision.princeton.edu/projects/2010/SUN/",
        lists=File(
            "https://3dvision.princeton.edu/projects/2010/SUN/download/Partitions.zip",
            "Partitions.zip",
            18_293_705,
            "e3311ea5f812d4cc6faef194688343d1111f6cd6f70f2c62f393c2b8d6ba1ec9",
        ),
    ),
    "dtd": Entry(
        "dtd",
        (("images",),),
        (
            File(
                f"{OXFORD}/dtd/download/dtd-r1.0.1.tar.gz",
                "dtd-r1.0.1.tar.gz",
                625_239_812,
                "e42855a52a4950a3b59612834602aa253914755c95b0cff9ead6d07395f8e205",
            ),
            _bundle(
                "dtd.zip",
                626_071_992,
                "5ba4d3000e60f5541ba15a082033ca0696eee68125e9c28edff3dbe22f04313b",
            ),
        ),
        47,
        (2820, 1128, 1692),
        RESEARCH,
        f"{OXFORD}/dtd/",
    ),
    "eurosat": Entry(
        "eurosat",
        (("2750", "EuroSAT_RGB"),),
        (
            File(
                f"{HUB}/datasets/torchgeo/eurosat/resolve/"
                "c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
                "EuroSAT.zip",
                94_280_567,
                "8ebea626349354c5328b142b96d0430e647051f26efc2dc974c843f25ecf70bd",
            ),
            File(
                "http://madm.dfki.de/files/sentinel/EuroSAT.zip",
                "EuroSAT.zip",
                94_280_567,
                "8ebea626349354c5328b142b96d0430e647051f26efc2dc974c843f25ecf70bd",
            ),
            File(
                "https://zenodo.org/records/7711810/files/EuroSAT_RGB.zip",
                "EuroSAT_RGB.zip",
                sha256="b4f5b234ecb7d7ff9c6cddb046543b4717c53fd6e9815be6c0e80cc614f51b90",
            ),
            _bundle("eurosat.zip"),
        ),
        10,
        (13_500, 5400, 8100),
        "MIT",
        "https://github.com/phelber/EuroSAT",
    ),
    "ucf101": Entry(
        "ucf101",
        (("UCF-101-midframes",),),
        (
            File("drive:10Jqome3vtUA2keJkNanAiFpgbyC9Hc2O", "UCF-101-midframes.zip"),
            _bundle(
                "ucf101.zip",
                140_164_538,
                "2fe1bd40e64408d02ff173badf744da557033ae6c75dd4ea51519366551f3ae6",
            ),
        ),
        101,
        (7639, 1898, 3783),
        UNSTATED,
        "https://www.crcv.ucf.edu/data/UCF101.php",
    ),
    "imagenetv2": Entry(  # its first address, on S3, is closed
        "imagenetv2",
        (("imagenetv2-matched-frequency-format-val",),),
        (
            File(
                f"{HUB}/datasets/vaishaal/ImageNetV2/resolve/"
                "d626240be2538720e83103a0e1178d24aca8b12c/imagenetv2-matched-frequency.tar.gz",
                "imagenetv2-matched-frequency.tar.gz",
                1_260_000_000,
            ),
            _bundle("imagenetv2.zip"),
        ),
        1000,
        (0, 0, 10_000),
        "MIT",
        "https://github.com/modestyachts/ImageNetV2",
        package=NAMES,
    ),
    "imagenet_sketch": Entry(
        "imagenet-sketch",
        (("images", "sketch"),),
        (
            File(
                f"{HUB}/datasets/songweig/imagenet_sketch/resolve/main/data/ImageNet-Sketch.zip",
                "ImageNet-Sketch.zip",
                7_600_000_000,
            ),
            File("drive:1Mj0i5HBthqH1p_yeXzsg22gZduvgoNeA", "ImageNet-Sketch.zip"),
            _bundle(
                "imagenet-sketch.zip",
                sha256="8f93bc6064cf9d984a64b46925b7f53ab573224ca1c38a404d767b3565e3863f",
            ),
        ),
        1000,
        (0, 0, 50_889),
        UNSTATED,
        "https://github.com/HaohanWang/ImageNet-Sketch",
        package=NAMES,
    ),
    "imagenet_a": Entry(
        "imagenet-adversarial",
        (("imagenet-a",),),
        (
            File(
                f"{BERKELEY}/imagenet-a.tar",
                "imagenet-a.tar",
                687_552_512,
                "3bb3632277e6ba6392ea64c02ddbf4dd2266c9caffd6bc09c9656d28f012589e",
            ),
            _bundle(
                "imagenet-adversarial.zip",
                sha256="5c577c4cde2f2b1d999a1c26c9c7da31ea7fd4c47f7ad6bc4e6d71fcf646d099",
            ),
        ),
        200,
        (0, 0, 7500),
        "MIT",
        "https://github.com/hendrycks/natural-adv-examples",
        package=NAMES,
    ),
    "imagenet_r": Entry(
        "imagenet-rendition",
        (("imagenet-r",),),
        (
            File(
                f"{BERKELEY}/imagenet-r.tar",
                "imagenet-r.tar",
                2_191_079_936,
                "18c6bf493b39a0d975d48e587437f562caab9c52ae6327dcfa9dd8eb54aa1b52",
            ),
            _bundle("imagenet-rendition.zip"),
        ),
        200,
        (0, 0, 30_000),
        "MIT",
        "https://github.com/hendrycks/imagenet-r",
        package=NAMES,
    ),
}
