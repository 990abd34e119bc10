"""Qwen2.5-VL-3B on one GPU: the sizes that PEFT and TRL are given, on your own files.

python examples/one_gpu.py interactions.csv items.csv images/
"""

import sys

from peft import LoraConfig
from trl import GRPOConfig, SFTConfig

from mmsrarec import Dataset, Recommender

interactions, items, images = sys.argv[1:]
data = Dataset.from_csv(interactions, items, images=images).k_core(5)
train, valid, test = data.split(by="user", ratios=(8, 1, 1), seed=0)

recommender = Recommender(
    backbone="Qwen/Qwen2.5-VL-3B-Instruct",
    preset="default",
    history=5,
    similar_users=3,
    reconstruction="nll",
    lora=LoraConfig(r=16, lora_alpha=32, target_modules=r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"),
    # Output folders are replaced by the workdir's.
    grpo=GRPOConfig("unused", max_steps=300, num_generations=8, per_device_train_batch_size=16, bf16=True),
    sft=SFTConfig("unused", per_device_train_batch_size=8, num_train_epochs=1, learning_rate=1e-4, bf16=True),
)
recommender.fit(train, validation=valid, workdir="runs/one_gpu")
recommender.save("runs/one_gpu/model")
