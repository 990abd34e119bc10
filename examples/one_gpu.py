"""Qwen2.5-VL on one GPU: the sizes that PEFT and TRL are given, on your own files, and the memory they take.

python examples/one_gpu.py interactions.csv items.csv images/ --model Qwen/Qwen2.5-VL-7B-Instruct
python examples/one_gpu.py --rehearse

``--rehearse`` runs every line of it on a generated shop with a tiny random model of the same family and dtype.
"""

import argparse
from dataclasses import replace

import torch
from peft import LoraConfig
from transformers import AutoConfig
from trl import GRPOConfig, SFTConfig

from mmsrarec import Dataset, Recommender, make_catalogue
from mmsrarec.backbone.memory import scoring_memory, tuning_memory
from mmsrarec.evaluate import evaluate_recommender, recommendation_cost
from mmsrarec.recommender import PRESETS

parser = argparse.ArgumentParser()
parser.add_argument("files", nargs="*", help="interactions, items, folder of images")
parser.add_argument("--model", default="Qwen/Qwen2.5-VL-3B-Instruct")
parser.add_argument("--workdir", default="runs/one_gpu")
parser.add_argument("--rehearse", action="store_true")
arguments = parser.parse_args()

lora = LoraConfig(
    r=16, lora_alpha=32, target_modules=r".*language_model.*\.(q|k|v|o|gate|up|down)_proj", lora_dropout=0.05
)
# Output folders are replaced by the workdir's.
grpo = GRPOConfig(
    "unused",
    max_steps=2 if arguments.rehearse else 300,
    num_generations=8,
    per_device_train_batch_size=16,
    bf16=True,
    use_cpu=arguments.rehearse,
)
sft = SFTConfig(
    "unused",
    per_device_train_batch_size=1,
    gradient_accumulation_steps=16,
    num_train_epochs=1,
    learning_rate=1e-4,
    lr_scheduler_type="cosine",
    warmup_steps=1 if arguments.rehearse else 50,
    gradient_checkpointing=True,
    bf16=True,
    use_cpu=arguments.rehearse,
    save_steps=1 if arguments.rehearse else 100,
)
preset = PRESETS["default"]

if arguments.rehearse:
    from mmsrarec.testing import tiny_qwen

    model, processor = tiny_qwen()
    backbone = model.to(torch.bfloat16), processor
    config = model.config
    data = make_catalogue(items=40, users=60, seed=0, folder=f"{arguments.workdir}/shop")
    preset = replace(
        preset, warm_start_items=8, grpo_steps=2, held_out_items=4, sequence_epochs=2, tune_examples=48,
        tune_validation_users=3, readout_users=12, blend_users=3, candidates=8,
    )  # fmt: skip
else:
    interactions, items, images = arguments.files
    backbone = arguments.model
    config = AutoConfig.from_pretrained(backbone)
    data = Dataset.from_csv(interactions, items, images=images).k_core(5)

# A history of 5 items and 3 similar users is about 250 tokens; a candidate with its picture (at most 256 tokens of it,
# see the processor's max_pixels), text and paths about 350. Six candidates of a user are one row while tuning.
print("scoring:", scoring_memory(config, users=4, prefix_tokens=250, candidates=21, branch_tokens=350))
print("tuning:", tuning_memory(config, lora, rows=sft.per_device_train_batch_size, tokens=250 + 6 * 350))

train, valid, test = data.split(by="user", ratios=(8, 1, 1), seed=0)
recommender = Recommender(
    backbone=backbone,
    encoder="embedded" if arguments.rehearse else None,
    preset=preset,
    history=5,
    similar_users=3,
    reconstruction="nll",
    lora=lora,
    grpo=grpo,
    sft=sft,
    device="cpu" if arguments.rehearse else None,
)
recommender.fit(train, validation=valid, workdir=arguments.workdir)
recommender.save(f"{arguments.workdir}/model")
print(evaluate_recommender(recommender, test, users=4 if arguments.rehearse else None))
print(recommendation_cost(recommender, test, users=4))
