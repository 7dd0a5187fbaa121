"""Crops of images in memory, thousands at once: a crop is one offset into the pixels, whatever it is a crop of."""

from __future__ import annotations

import torch
from torch import Tensor


class Windows:
    r"""All h × w windows of images framed by a margin of zeros, each known by the offset of its first pixel.

    The frames lie one after the other in memory, and behind them, where there is a margin, the same ones mirrored. With
    strides over that memory, *every* offset is the start of a window; so a batch of random crops and flips is a single
    ``index_select`` that copies whole rows, and a flip costs nothing:

    .. math:: \text{start} = m N S + i S + y R + x P

    where m is 1 for mirrored images, N their number, i the image, (y, x) the corner of the crop in its frame, and
    S, R, P the elements in a frame, between two rows and between two pixels.

    Shapes: images (n, h, w, channels), uint8. Memory: 2 (1 + 2 margin/h)² times the images', or once without a margin.
    A batch lies as (n, h, w, channels) in memory, or as (n, channels, h, w) without ``channels_last``.
    """

    def __init__(self, images: Tensor, margin: int, channels_last: bool, device: torch.device) -> None:
        n, h, w, channels = images.shape
        tall, wide = h + 2 * margin, w + 2 * margin
        framed = torch.zeros((2 if margin else 1, n, tall, wide, channels), dtype=torch.uint8)
        framed[0, :, margin : margin + h, margin : margin + w] = images
        if margin:
            framed[1] = framed[0].flip(2)
        if channels_last:
            shape, strides = (h, w * channels), (wide * channels, 1)
            self.row, self.pixel = wide * channels, channels
        else:
            framed = framed.permute(0, 1, 4, 2, 3).contiguous()
            shape, strides = (channels, h, w), (tall * wide, wide, 1)  # type: ignore[assignment]
            self.row, self.pixel = wide, 1
        self.margin, self.channels_last = margin, channels_last
        self.image = h, w, channels
        self.frame, self.mirror = tall * wide * channels, n * tall * wide * channels
        span = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        memory = framed.view(-1).to(device)
        self.windows = memory.as_strided((memory.numel() - span + 1, *shape), (1, *strides))

    def centred(self, images: Tensor) -> Tensor:
        """Return the offsets of the images as they are."""
        return images * self.frame + self.margin * (self.row + self.pixel)

    def drawn(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return the offsets of a random crop of each image, one half of them mirrored.

        One number is drawn for every image of the whole set and looked up by index, so that the crop of an image does
        not depend on which others are trained on.
        """
        side = 2 * self.margin + 1
        count = self.mirror // self.frame
        draw = torch.randint(0, 2 * side * side, (count,), generator=generator)[images]
        mirrored, corner = draw % 2, draw // 2
        return mirrored * self.mirror + images * self.frame + corner // side * self.row + corner % side * self.pixel

    def standardised(self, starts: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        """Return (pixels − mean) / deviation of the windows, in the numbers' own dtype, as (n, channels, h, w).

        Shapes: mean and deviation as :meth:`along` returns them.
        """
        pixels = self.windows.index_select(0, starts).to(mean.dtype).sub_(mean).div_(deviation)
        if not self.channels_last:
            return pixels
        return pixels.view(-1, *self.image).permute(0, 3, 1, 2)

    def along(self, values: tuple[float, ...], dtype: torch.dtype) -> Tensor:
        """Return one number per channel in the shape of a row of pixels, along which a processor is fast."""
        one_each = torch.tensor(values, dtype=torch.float64).to(self.windows.device, dtype)
        return one_each.repeat(self.image[1]) if self.channels_last else one_each.view(-1, 1, 1)
