"""The command `qwen-triton`: a table of subcommands, each a module with `add_arguments(parser)` and `run(arguments)`.

Only the module of the given subcommand is imported, so a missing extra stops no other subcommand.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from qwen_triton.errors import QwenTritonError

COMMANDS = {
    "build": ("qwen_triton_build.commands.build", "build a TensorRT-LLM engine from a checkpoint"),
    "serve": ("qwen_triton_build.commands.serve", "render a deployment, start the server and supervise it"),
    "server": ("qwen_triton_build.commands.server", "start tritonserver on a model repository"),
    "chat": ("qwen_triton_client.terminal.chat", "talk to the model in the terminal"),
    "generate": ("qwen_triton_client.terminal.generate", "send a text to a Triton model, ours or stock's"),
    "shim": ("qwen_triton_build.commands.shim", "serve OpenAI's API in front of a Triton"),
    "key": ("qwen_triton_openai.key_command", "make an API key for the OpenAI-compatible server"),
    "health": (
        "qwen_triton_build.commands.health",
        "check that a served deployment answers; for container health checks",
    ),
    "doctor": ("qwen_triton_build.commands.doctor", "check a deployment and this machine before the start"),
    "render": ("qwen_triton_build.commands.render", "write the model repository of a deployment"),
    "bench": ("qwen_triton_bench.command", "load a server and say what it did"),
    "tune": ("qwen_triton_bench.tune.command", "measure settings of a deployment and name the best"),
    "report": ("qwen_triton_bench.report.command", "results of bench as one HTML page"),
}

_EPILOG = (
    "`qwen-triton COMMAND --help` explains a command. Exit code: 0 done, 1 failed, 2 wrong usage or configuration."
)


def main(argv: list[str] | None = None) -> int:
    """Runs one subcommand and returns its exit code: 0 done, 1 failed, 2 wrong usage or configuration."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="qwen-triton", description="Serve Qwen on NVIDIA Triton.", epilog=_EPILOG)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module_name, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name in argv[:1]:
            import_module(module_name).add_arguments(command)
    arguments = parser.parse_args(argv)
    try:
        return int(import_module(COMMANDS[arguments.command][0]).run(arguments))
    except QwenTritonError as error:
        for line in str(error).splitlines():
            print(f"qwen-triton: {line}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
