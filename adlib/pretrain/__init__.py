r"""Making a teacher of our own: distil a network that was trained on ImageNet into the networks that the papers use.

    python -m adlib.pretrain prepare --photographs ZIP --tiny ZIP --textures DIR --out natural.zip
    python -m adlib.pretrain --source FILE --student resnet18 --data natural.zip --out resnet18.safetensors \
        --steps 9000

Without a source the network learns classes instead, of labelled images or of procedural textures, for comparison.

`config` is the recipe, `data` packs and reads the images, `augment` makes batches of views on the device, `networks`
holds the source, the student and the losses, `inherit` lets the student begin as the source, `training` is the loop,
`distillation` and `classification` are what is learnt by it, `export` writes the weights and their card, `border`
measures how features at an image's edge differ from those inside.
"""

from adlib.pretrain.augment import Augmentation
from adlib.pretrain.classification import Classification
from adlib.pretrain.config import Config
from adlib.pretrain.distillation import Distillation

__all__ = ["Augmentation", "Classification", "Config", "Distillation"]
