"""SUN397: photographs of 397 kinds of scenes."""

from softprompt.core import DATASETS
from softprompt.core.data.splits import SplitFileDataset
from softprompt.core.prompts.templates import PHOTO


@DATASETS.register("sun397")
class SUN397(SplitFileDataset):
    """SUN Database, CVPR 2010, https://vision.princeton.edu/projects/2010/SUN/.

    ``ROOT/sun397/SUN397/<letter>/<scene>/*.jpg``, some scenes with one more folder.
    """

    folder = "sun397"
    images = "SUN397"
    split_file = "split_zhou_SUN397.json"
    drive_id = "1y2RD81BYuiyvebdN-JymPfyWYcd8_MUq"
    drawn_sha256 = (
        "9ac7879bf03253fc47834e4fa52a2157227c3c81edff864bb5eaf709ed3d4ec0",
        "d0507aca242a69de072c6769635f119f2c0b911c71cebfb6e1ac04825a670c64",
    )
    templates = {"coop": PHOTO}
