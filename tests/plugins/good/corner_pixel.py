"""A third-party model: the colour of the four corner pixels."""

import numpy as np

import harness


@harness.hookimpl
def harness_models():
    """Announce the model."""
    return [
        harness.ModelCard(
            name="corner-pixel",
            build="corner_pixel:build",
            family="hand-crafted",
            access={"licence": "MIT"},
            input={"channels": "any"},
            untrained={"twin": "none"},
        )
    ]


class CornerPixel:
    """Reads four pixels."""

    def embed(self, batch, stages):
        """Return the corners of every image, (N, 4 C)."""
        corners = batch.images[:, :, [0, 0, -1, -1], [0, -1, 0, -1]].reshape(len(batch), -1)
        return {stage: corners.astype(np.float32) for stage in stages}


def build(context):
    """Build the model."""
    return CornerPixel()
