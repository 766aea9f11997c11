"""Checks of the checkpoint: tokenizer, chat template, end and pad ids, and weights."""

from __future__ import annotations

from pathlib import Path

from qwen_triton.chat.template import ChatTemplate
from qwen_triton.checkpoint.hub import resolve_model
from qwen_triton.checkpoint.json_file import read_json_object
from qwen_triton.checkpoint.weights import Checkpoint
from qwen_triton.engines.openvino.architecture import DenseQwen
from qwen_triton.errors import ConfigurationError
from qwen_triton.text.tokenizer import Tokenizer

from ..deployment.engine_sections import ReplaySection
from .check import Check, CheckWarning
from .site import Site

_GREETING = [{"role": "user", "content": "hello"}]


def folder(site: Site) -> str:
    """Accepts a hub name with a warning: `serve` fetches it, a check does not."""
    if not site.model_dir.is_dir():
        if "/" in site.deployment.model and not site.deployment.model.startswith((".", "/")):
            raise CheckWarning(
                f"{site.deployment.model} is no folder here; it is fetched at the start, give a folder to be sure"
            )
        resolve_model(site.deployment.model)
    return str(site.model_dir)


def tokenizer_files(site: Site) -> str:
    return f"{_here(site) / 'tokenizer.json'}, {(_here(site) / 'tokenizer.json').stat().st_size >> 10} KiB"


def tokenizer(site: Site) -> str:
    """Loads the whole tokenizer, which finds a truncated download."""
    _here(site)
    return f"{len(Tokenizer(site.tokenizer).encode('hello, 你好'))} tokens for «hello, 你好»"


def chat_template(site: Site) -> str:
    _here(site)
    if "default" in site.tokenizer.chat_templates:
        return f"{len(site.tokenizer.chat_templates)} of them"
    if site.deployment.repository.prompt_format == "chat" or site.deployment.openai.enabled:
        raise CheckWarning(
            f"{site.model_dir} has no chat template: chat requests are refused; take the Instruct checkpoint's files, or "
            "set prompt_format: raw"
        )
    return "none, and none is used"


def filled_template(site: Site) -> str:
    if "default" not in site.tokenizer.chat_templates:
        return "there is none to fill"
    try:
        prompt = ChatTemplate.from_folder(site.model_dir, Tokenizer(site.tokenizer)).render(_GREETING)
    except ConfigurationError:
        raise
    except Exception as error:  # the template is code of the checkpoint and may raise anything
        raise ConfigurationError(
            f"the chat template of {site.model_dir} cannot be filled ({type(error).__name__}: {error}); fetch it again"
        ) from error
    return f"{len(prompt)} characters for one message"


def end_ids(site: Site) -> str:
    """Qwen's chat models end at either of two ids; an engine that knows one of them generates past the other."""
    _here(site)
    ids = site.tokenizer.generation_end_ids
    if not ids:
        raise CheckWarning(
            f"neither generation_config.json nor config.json of {site.model_dir} names eos_token_id; answers may not end, "
            "copy generation_config.json of the checkpoint"
        )
    return ", ".join(map(str, ids))


def eos_token(site: Site) -> str:
    named, ids = site.tokenizer.token("eos_token"), site.tokenizer.generation_end_ids
    if named is None:
        return "tokenizer_config.json names none"
    token_id = site.tokenizer.load().token_to_id(named)
    if ids and token_id not in ids:
        raise CheckWarning(
            f"generation ends at {list(ids)}, and the tokenizer's eos_token is {named} = {token_id}; take both files from "
            "one checkpoint"
        )
    return f"{named} = {token_id}"


def ids_in_vocabulary(site: Site) -> str:
    _here(site)
    size = site.vocab_size
    ids = [*site.tokenizer.generation_end_ids, *filter(None, [site.tokenizer.generation_pad_id])]
    beyond = [i for i in ids if size is not None and i >= size]
    if beyond:
        raise ConfigurationError(
            f"id {beyond[0]} of generation_config.json is beyond the vocabulary of {size}; take the files of one checkpoint"
        )
    return f"{', '.join(map(str, ids)) or 'none'} of {size or 'a vocabulary that config.json does not name'}"


def context(site: Site) -> str:
    """Says when `repository.max_context` is more than the model or the engine has: the least of them holds."""
    _here(site)
    configured, engine = site.deployment.repository.max_context, site.deployment.engine
    limits = {"the checkpoint": site.tokenizer.context_length}
    if isinstance(engine, ReplaySection) and "max_context" in engine.model_fields_set:
        limits["the engine"] = engine.engine_options(site.model_dir)["max_context"]
    known = {owner: limit for owner, limit in limits.items() if limit is not None}
    if not known:
        return f"{configured} tokens, as the deployment says" if configured else "named in no file of the checkpoint"
    owner, least = min(known.items(), key=lambda one: one[1])
    if configured is not None and configured > least:
        raise CheckWarning(
            f"repository.max_context is {configured} and {owner} has {least} tokens, which hold; "
            f"lower it to {least}, or take a checkpoint with a longer context"
        )
    return f"{min(configured or least, least)} tokens"


def architecture(site: Site) -> str:
    """Refuses what the openvino engine would refuse once it reads the checkpoint; one that is exported already is its own."""
    if site.deployment.engine.kind != "openvino":
        return "not read by this engine"
    if (_here(site) / "openvino_model.xml").is_file():
        return "exported to OpenVINO already"
    config = read_json_object(site.model_dir / "config.json", "fetch the checkpoint's files again")
    model = DenseQwen.from_config(config)
    return f"{config['model_type']}, {model.layers} layers of {model.hidden}"


def weights(site: Site) -> str:
    """Compares the weights with the free memory: the CPU engine, the only one to read them, needs about twice their size."""
    if site.deployment.engine.kind != "openvino":
        return "not read by this engine"
    checkpoint = Checkpoint.open(_here(site))
    size = sum(file.stat().st_size for file in checkpoint.files)
    free = _free_memory()
    if free is not None and 2 * size > free:
        raise CheckWarning(
            f"{size >> 20} MiB of weights and {free >> 20} MiB of free memory; take a smaller model or an int8 profile"
        )
    return f"{size >> 20} MiB in {len(checkpoint.files)} files"


def _free_memory() -> int | None:
    """Available memory in bytes, as the kernel estimates it; None when it does not."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return None


def _here(site: Site) -> Path:
    return site.tokenizer.path


CHECKS = (
    Check("model", "a folder, or a hub's name", folder),
    Check("tokenizer files", "tokenizer.json and its settings, readable", tokenizer_files, needs="model"),
    Check("tokenizer", "it loads and encodes", tokenizer, needs="tokenizer files", thorough=True),
    Check("chat template", "one, for chat and the OpenAI API", chat_template, needs="tokenizer files"),
    Check("template fills", "a message becomes a prompt", filled_template, needs="chat template", thorough=True),
    Check("end ids", "in generation_config.json or config.json", end_ids, needs="tokenizer files"),
    Check("eos token", "the tokenizer's is among the end ids", eos_token, needs="end ids", thorough=True),
    Check("ids and vocabulary", "end and pad ids inside the vocabulary", ids_in_vocabulary, needs="tokenizer files"),
    Check("context", "repository.max_context within the model's", context, needs="tokenizer files"),
    Check("architecture", "one that the openvino engine has", architecture, needs="model"),
    Check("weights", "readable, and memory for them", weights, needs="model"),
)
