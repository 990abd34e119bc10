"""What one process of ``accelerate launch`` runs in the test of multi-process tuning: FOLDER ACCUMULATION."""

import sys
from pathlib import Path

import torch
from peft import LoraConfig
from trl import SFTConfig

from mmsrarec.backbone import Backbone, Prompt, supervised_tune
from mmsrarec.testing import TinyPicture, tiny_llava


def main(folder: Path, accumulation: int) -> None:
    backbone = Backbone.load(tiny_llava(), device="cpu")
    torch.manual_seed(0)
    backbone.add_adapter(
        "tuned", LoraConfig(r=4, lora_alpha=8, target_modules=r".*language_model.*\.(q_proj|v_proj)")
    )
    prompts = [
        Prompt((f"Number {number}: ", TinyPicture((200, number, 30)), " red?" * (1 + number % 3)))
        for number in range(16)
    ]
    supervised_tune(
        backbone,
        "tuned",
        prompts,
        ["yes", "no, it is not"] * 8,
        workdir=folder,
        config=SFTConfig(
            str(folder),
            per_device_train_batch_size=2,
            gradient_accumulation_steps=accumulation,
            num_train_epochs=3,
            learning_rate=1e-2,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            seed=5,
        ),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
