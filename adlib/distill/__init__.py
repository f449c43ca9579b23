"""Making a teacher of our own: distil a network that was trained on ImageNet into the networks that the papers use.

    python -m adlib.distill prepare --photographs ZIP --tiny ZIP --textures DIR --out natural.zip
    python -m adlib.distill --source FILE --student resnet18 --data natural.zip --out resnet18.safetensors --seconds 500

`config` is the recipe, `data` packs and reads the images, `augment` makes batches of views on the device, `networks`
holds the source, the student and the losses, `training` is the loop, `export` writes the weights and their card.
"""

from adlib.distill.augment import Augmentation
from adlib.distill.config import Config
from adlib.distill.training import Distillation

__all__ = ["Augmentation", "Config", "Distillation"]
