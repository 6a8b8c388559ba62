"""Unpack ImageNet from the archives that its site gives to users with an account."""

import shutil
from pathlib import Path

from softprompt.core.base.errors import UserError
from softprompt.core.base.files import publish
from softprompt.core.base.log import logger
from softprompt.core.download.archive import ArchiveError, unpack
from softprompt.core.download.place import WORK

TRAIN, VAL = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"  # has the class of each validation picture
SITE = "https://image-net.org/download-images.php"


def arrange(root: Path) -> None:
    """Unpack those of ImageNet's archives that exist to ``ROOT/imagenet/images/{train,val}``.

    Raises:
        UserError: one is missing; the message says which, its source, and its place.
    """
    folder = root / "imagenet"
    images, work = folder / "images", folder / WORK
    if not (images / "val").is_dir():
        for name in (VAL, DEVKIT):
            if not (folder / name).is_file():
                raise UserError(
                    f"no {folder / name}: ImageNet needs an account, so fetch {VAL} (6.3 GB), "
                    f"{DEVKIT} and, to train, {TRAIN} (138 GB) from {SITE}, put them in {folder} "
                    "and run this again"
                )
        _arrange_val(folder, work)
    if not (images / "train").is_dir():
        if (folder / TRAIN).is_file():
            _arrange_train(folder, work)
        else:
            logger.info(f"no {folder / TRAIN}, so ImageNet can be evaluated, but not trained on")


def _arrange_val(folder: Path, work: Path) -> None:
    wnids = val_wnids(folder / DEVKIT, work)
    tree = _fresh(work / "val")
    logger.info(f"imagenet: unpacking {VAL}")
    unpack(folder / VAL, tree)
    pictures = sorted(tree.iterdir())
    if len(pictures) != len(wnids):
        raise ArchiveError(f"{folder / VAL} holds {len(pictures)} pictures, not {len(wnids)}")
    for picture, wnid in zip(pictures, wnids, strict=True):
        (tree / wnid).mkdir(exist_ok=True)
        picture.rename(tree / wnid / picture.name)
    _publish(tree, folder / "images" / "val")


def _arrange_train(folder: Path, work: Path) -> None:
    tree = _fresh(work / "train")
    logger.info(f"imagenet: unpacking {TRAIN}")
    unpack(folder / TRAIN, tree)
    for archive in sorted(tree.glob("n*.tar")):
        unpack(archive, tree / archive.stem)
        archive.unlink()
    _publish(tree, folder / "images" / "train")


def _publish(tree: Path, place: Path) -> None:
    place.parent.mkdir(exist_ok=True)
    publish(tree, place)


def _fresh(tree: Path) -> Path:
    shutil.rmtree(tree, ignore_errors=True)
    return tree


def val_wnids(devkit: Path, work: Path) -> list[str]:
    """Return the WordNet id of each validation picture, in the order of their names.

    Raises:
        UserError: ``devkit`` is another archive.
    """
    from torchvision.datasets.imagenet import load_meta_file, parse_devkit_archive

    shutil.copyfile(devkit, work / devkit.name)
    try:
        parse_devkit_archive(str(work), devkit.name)
    except RuntimeError:
        raise UserError(f"{devkit} is not the archive of that name from {SITE}") from None
    return load_meta_file(str(work))[1]
