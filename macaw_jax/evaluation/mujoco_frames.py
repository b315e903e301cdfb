"""Pictures of MuJoCo states, as a program of its own.

  python mujoco_frames.py MODEL.xml QPOS.npy WIDTH HEIGHT FRAMES.npy

Reads positions [F, nq] and writes pictures [F, HEIGHT, WIDTH, 3] (uint8), seen by the model's camera "side", or from
where MuJoCo looks at first if it has none. It is a program because MuJoCo chooses its OpenGL back end (`MUJOCO_GL`)
when it is imported, and because a graphics driver that crashes must not take a training run with it.
"""

import sys

import mujoco
import numpy as np


def draw(xml_path: str, qpos: np.ndarray, width: int, height: int) -> np.ndarray:
  """The pictures [F, height, width, 3] of the positions [F, nq]."""
  model = mujoco.MjModel.from_xml_path(xml_path)
  data = mujoco.MjData(model)
  camera = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, "side")  # -1, the free camera, if there is none
  frames = np.empty((len(qpos), height, width, 3), np.uint8)
  with mujoco.Renderer(model, height, width) as renderer:
    for position, frame in zip(qpos, frames, strict=True):
      data.qpos[:] = position
      mujoco.mj_forward(model, data)
      renderer.update_scene(data, camera=camera)
      renderer.render(out=frame)
  return frames


if __name__ == "__main__":
  model_path, qpos_path, picture_width, picture_height, frames_path = sys.argv[1:]
  np.save(frames_path, draw(model_path, np.load(qpos_path), int(picture_width), int(picture_height)))
