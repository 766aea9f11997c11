"""Explains each figure of the tables: its meaning and what changes it, in one line of English and one of Chinese."""

from __future__ import annotations

EXPLANATIONS: dict[str, tuple[str, str]] = {
    "Requests/Sec": (
        "answers completed per second over the whole run; grows with concurrency until the engine's batch is full",
        "整个测试期间每秒完成的请求数；随并发上升，直到引擎的批次占满",
    ),
    "OP tokens/sec": (
        "generated tokens per second, all requests together; moved by batch size, quantization, KV memory, model size",
        "所有请求合计每秒生成的 token 数；由批大小、量化、KV 缓存显存和模型大小决定",
    ),
    "Avg. latency (ms)": (
        "from sending a request to the end of its answer, on average; waiting in queues counts, output length rules it",
        "从发出请求到回答结束的平均时间，含排队；主要由输出长度和排队决定",
    ),
    "P99 latency (ms)": (
        "99 of 100 requests took no longer; far above the average means that some wait: lower the load or raise the batch",
        "99% 的请求不超过此值；远高于平均值说明有请求在排队：降低负载或增大批次",
    ),
    "P90 latency (ms)": (
        "90 of 100 requests took no longer",
        "90% 的请求不超过此值",
    ),
    "Avg. IP tokens per request": (
        "prompt tokens per answered request, as the server counted them",
        "每个请求的平均输入 token 数（服务器统计）",
    ),
    "Avg. OP tokens per request": (
        "generated tokens per answered request, as the server counted them; not the number of responses",
        "每个请求的平均输出 token 数（服务器统计）；不等于响应次数",
    ),
    "Avg. InFlight requests": (
        "requests sent and not yet answered, measured over the run: arrival rate times average latency; 0 would mean idle",
        "已发出但未完成的请求数在测试期间的时间平均，实测值（= 到达速率 × 平均延迟）；为 0 表示空闲，而不是“没有测”",
    ),
    "Total latency (ms)": (
        "how long the run took, from the first request to the last answer",
        "整个测试从第一个请求到最后一个回答的耗时",
    ),
    "Sum of request latencies": (
        "every request's latency added up; requests overlap, so it is many times the run's time and no measure of it",
        "所有请求延迟之和；请求是并发的，所以它远大于总耗时，两者并不相同",
    ),
    "Total requests": (
        "requests that were answered; failed ones are under Errors",
        "成功回答的请求数；失败的请求列在 Errors",
    ),
    "TTFT": (
        "time to first token: queue and prefill; moved by prompt length, prefix reuse, chunked context and load",
        "首 token 延迟：排队加预填充；由输入长度、前缀复用、分块上下文和负载决定",
    ),
    "Inter-token latency": (
        "gap between two responses of a stream; a response may bring several tokens, so compare it with TPOT",
        "流式回答中相邻两次响应的间隔；一次响应可含多个 token，应与 TPOT 对照",
    ),
    "TPOT": (
        "time per output token after the first, per request; the engine's step time, it grows with the batch",
        "首 token 之后每个输出 token 的平均时间；即引擎单步时间，随批次增大",
    ),
    "Tokens per response": (
        "1 on an idle server; more when responses merge while the server is busy, which saves its processor",
        "空闲时为 1；服务器繁忙时多个 token 合并为一次响应，以节省 CPU",
    ),
    "Most in flight": ("the largest number of open requests at any moment", "任一时刻未完成请求的最大值"),
    "Cached IP tokens": ("prompt tokens that the engine had in its prefix cache", "命中前缀缓存的输入 token 数"),
    "Goodput": (
        "answers that kept all limits given by --goodput-…, per second and as a share of all requests",
        "满足 --goodput-… 全部时限的请求：每秒个数与占全部请求的比例",
    ),
    "Errors": ("requests that failed, by kind below", "失败的请求数，按种类列出"),
    "Not finished": ("requests still open when the run was stopped", "测试被中断时仍未完成的请求数"),
    "Client's own CPU": (
        "what this tool itself spent; near a core (100 % of the run's time) the client is what you measure",
        "本工具自身的 CPU 开销；接近一个核满载时，测到的就是客户端而不是服务器",
    ),
}


def explain_lines() -> list[str]:
    """All explanations as lines of text."""
    return [line for name, (en, zh) in EXPLANATIONS.items() for line in (f"{name}: {en}", f"    {zh}")]
