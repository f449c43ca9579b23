"""Describable Textures Dataset (Cimpoi et al., CVPR 2014): source of pseudo-anomalies.

images/<class>/<class>_0001.jpg     5,640 images: 47 classes of 120
"""

from pathlib import Path

from .table import data_root, folders_in, found_in, images_in


def images(root: str | Path | None = None) -> list[str]:
    """Absolute paths of all textures, sorted; `root` is the folder of DTD itself.

    By default `<data root>/dtd`. Some of the classes are enough. Raises FileNotFoundError that
    says where to get them if there is none.
    """
    home = data_root() / "dtd" if root is None else data_root(root)
    found = [
        str(image)
        for name in folders_in(home / "images")
        for image in images_in(home / "images" / name)
        if image.suffix.lower() == ".jpg"
    ]
    if not found:
        raise FileNotFoundError(
            f"no texture in {home}: expected images/<class>/*.jpg, found {found_in(home)}. Fetch it with "
            f"`python -m adlib.datasets.download dtd --root {home.parent}`, or set ADLIB_DATA to the folder that "
            "holds dtd/."
        )
    return sorted(found)
