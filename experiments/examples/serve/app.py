"""A web service of a bundle's `model.onnx`, without torch.

    pip install fastapi uvicorn onnxruntime pillow
    MODEL=runs/mine/best/model.onnx uvicorn --app-dir experiments/examples/serve app:app
    curl --data-binary @image.png localhost:8000/predict

`POST /predict` takes an image file of the model's size as its body, and answers with the most
probable class and the probability of each. It is for models that were trained on uint8 images.
"""

from __future__ import annotations

import io
import json
import os
from typing import Any

import numpy as np
import onnxruntime
from fastapi import Body, FastAPI, HTTPException
from PIL import Image, UnidentifiedImageError

MOST_BYTES = 1_000_000
"""The largest body that is read as an image."""

session = onnxruntime.InferenceSession(os.environ["MODEL"])
classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
height, width = session.get_inputs()[0].shape[1:]
app = FastAPI()


@app.post("/predict")
def predict(content: bytes = Body(media_type="application/octet-stream")) -> dict[str, Any]:
    """The class and the probabilities of one image; 422 if it is no image of the model's size."""
    if len(content) > MOST_BYTES:
        raise HTTPException(422, f"{len(content)} bytes: must be at most {MOST_BYTES}")
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.size != (width, height):
                raise HTTPException(422, f"{image.size}: must be {(width, height)} pixels")
            pixels = np.asarray(image.convert("L"))
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        raise HTTPException(422, "the body is not an image") from None
    found = session.run(None, {"images": pixels[None]})[0][0]
    probabilities = dict(zip(classes, map(float, found), strict=True))
    return {"class": classes[int(found.argmax())], "probabilities": probabilities}
