"""Pictures decoded by torchvision, as tensors."""

from io import BytesIO
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from softprompt.core.data.pictures import FileReader

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif"}


class JpegReader(FileReader):
    """Reads JPEG files through torchvision, to the same pixels as Pillow, and others as usual."""

    def __call__(self, path: str) -> Tensor | Image.Image:
        """Return the picture in RGB, ``(3, height, width)`` uint8 if it is a JPEG file.

        Raises:
            UserError: as for any ``FileReader``.
        """
        if Path(path).suffix.lower() not in SUFFIXES:
            return super().__call__(path)
        content = self.content(path)
        try:
            # Four channels are read in another way.
            if Image.open(BytesIO(content)).mode in ("RGB", "L"):
                from torchvision.io import ImageReadMode, decode_jpeg

                data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
                return decode_jpeg(data, mode=ImageReadMode.RGB)
        except ImportError:  # deprecated since 0.29, so some release will not have it
            pass
        except (OSError, RuntimeError):  # damaged; Pillow's words are the ones that users get
            pass
        return super().__call__(path)
