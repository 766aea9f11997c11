"""Style sheet of the page: one column that fits a phone, wide tables that scroll, light and dark."""

STYLE = """
:root{--ink:#1a1a1a;--paper:#fff;--faint:#e3e3e3;--soft:#666;--mark:#fff3c4}
@media(prefers-color-scheme:dark){:root{--ink:#e8e8e8;--paper:#161616;--faint:#333;--soft:#aaa;--mark:#4a3d00}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:960px;margin:0 auto;padding:16px}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem;border-bottom:1px solid var(--faint)}
figure{margin:1rem 0}figcaption{font-weight:600;margin-bottom:.25rem}
svg{display:block;width:100%;height:auto}
svg text{font:12px system-ui,sans-serif;fill:var(--soft)}svg text.axis{font-size:13px}svg text.dot{fill:var(--ink)}
.grid{stroke:var(--faint)}.series{fill:none;stroke-width:2.5;stroke-linejoin:round}
.legend{display:flex;flex-wrap:wrap;gap:.25rem 1rem;list-style:none;margin:.25rem 0;padding:0;font-size:.9rem}
.legend span{display:inline-block;width:1.2em;height:.35em;margin-right:.4em;vertical-align:middle}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem}
td,th{white-space:nowrap;padding:.3rem .6rem;border-bottom:1px solid var(--faint);text-align:right;vertical-align:top}
thead th,.words td{white-space:normal;overflow-wrap:anywhere;min-width:7rem;max-width:22rem}
tbody th{text-align:left;font-weight:400}small{font-weight:400;color:var(--soft)}.differs{background:var(--mark)}
.warning{padding:.5rem .75rem;border-left:4px solid #d55e00;background:var(--mark)}
details{margin:2rem 0}dt{font-weight:600}dd{margin:0 0 .5rem 1rem}
@media(max-width:520px){svg text{font-size:20px}svg text.axis{font-size:20px}body{font-size:15px}main{padding:10px}}
"""
