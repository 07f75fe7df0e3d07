"""The style and the script of the page, and the header that allows these and nothing else (pure).

The page has no resource of anybody else, so it works where nothing else does.  Its text is never a
part of the style or the script: their hashes are constants.
"""

from __future__ import annotations

import base64
import hashlib

REFRESH_INTERVAL = 5
"""Seconds between two refreshes of the page."""
STALE_AFTER = 15
"""Seconds without an answer after which the page calls itself stale."""

STYLE = """
:root{color-scheme:light dark;--fg:#1f2328;--bg:#f6f8fa;--card:#fff;--line:#d1d9e0;--dim:#59636e;
--ok:#1a7f37;--warn:#9a6700;--crit:#cf222e;--okbg:#dafbe1;--warnbg:#fff8c5;--critbg:#ffebe9;
--mid:#d4a72c;--low:#8c6fd0;--none:#c8d1da}
@media(prefers-color-scheme:dark){:root{--fg:#e6edf3;--bg:#0d1117;--card:#161b22;--line:#30363d;
--dim:#9198a1;--ok:#3fb950;--warn:#d29922;--crit:#f85149;--okbg:#12261e;--warnbg:#272115;
--critbg:#2d1619;--mid:#bb8009;--low:#8957e5;--none:#484f58}}
*{box-sizing:border-box}html{overflow-anchor:none}
body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,"Segoe UI",sans-serif;
overflow-wrap:anywhere}
main,#stale{max-width:72rem;margin:0 auto;padding:1rem}
#stale{background:var(--crit);color:#fff;font-weight:600}
a{color:inherit}.stale main{opacity:.55}
section{background:var(--card);border:1px solid var(--line);border-radius:8px;
padding:.75rem 1rem;margin:0 0 1rem}
h1{font-size:1.35rem;line-height:1.3;margin:0}
h2{font-size:1rem;margin:0 0 .4rem}
p{margin:.35rem 0}
ul{margin:.2rem 0;padding-left:1.2rem}
.verdict{border-left:.6rem solid}
.verdict.ok{border-left-color:var(--ok);background:var(--okbg)}
.verdict.warn{border-left-color:var(--warn);background:var(--warnbg)}
.verdict.crit{border-left-color:var(--crit);background:var(--critbg)}
.ok>b,b.ok,td.ok{color:var(--ok)}.warn>b,b.warn,td.warn{color:var(--warn)}
.crit>b,b.crit,td.crit{color:var(--crit)}
.dim{color:var(--dim)}small,.small{font-size:.87rem}
code,.mono{font:.87rem ui-monospace,"DejaVu Sans Mono",monospace}
table{border-collapse:collapse;width:100%}
th{text-align:left;color:var(--dim);font-weight:500;font-size:.87rem}
th{min-width:4rem}td.mono{min-width:8.5rem}
th,td{padding:.3rem .8rem .3rem 0;vertical-align:top}
tbody tr{border-top:1px solid var(--line)}
.num,.level{white-space:nowrap}
.num{font-variant-numeric:tabular-nums}
.level{display:inline-block;padding:0 .5rem;border-radius:1rem;font-size:.8rem;font-weight:600;
color:#fff;white-space:nowrap;background:var(--dim)}
.level.preferred{background:var(--ok)}.level.degraded{background:var(--warn)}
.level.standby{background:var(--low)}.level.withdrawn{background:var(--crit)}
@media(prefers-color-scheme:dark){.level{color:#0d1117}}
details{border-top:1px solid var(--line);padding:.45rem 0}
details:first-of-type{border-top:0}
summary{cursor:pointer}
summary>*{margin-right:.35rem}
details table{margin:.4rem 0}
.remedy::before{content:"\\2192  "}
svg{display:block;width:100%}
.strip{display:grid;grid-template-columns:minmax(5rem,9rem) 1fr;gap:0 .8rem;align-items:center}
.strip svg{height:1.25rem}
.scale{display:flex;justify-content:space-between;color:var(--dim);font-size:.8rem}
svg .preferred{fill:var(--ok)}svg .degraded{fill:var(--mid)}svg .standby{fill:var(--low)}
svg .withdrawn{fill:var(--crit)}svg .unknown{fill:var(--none)}
svg line{stroke:var(--fg);stroke-width:2}
.key{display:flex;flex-wrap:wrap;gap:.2rem 1rem;color:var(--dim);font-size:.8rem;margin:.4rem 0}
.key svg{width:.8rem;height:.8rem;display:inline-block;vertical-align:-.05rem}
.events td:first-child{width:8.5rem}
@media(max-width:44rem){
main{padding:.5rem}section{padding:.6rem .7rem;border-radius:6px}
table,tbody,tr,td{display:block}thead{display:none}td.mono{min-width:0}
tbody tr{padding:.35rem 0}tbody tr:first-child{border-top:0}td{padding:.05rem 0}
td[data-label]::before{content:attr(data-label) " ";color:var(--dim);font-size:.8rem}
td:empty{display:none}.events td:first-child{width:auto}
.strip{grid-template-columns:1fr}}
"""
SCRIPT = """
(function () {
  "use strict";
  var last = Date.now(), title = document.title, paused = false;
  function find(name) { return document.getElementById(name); }
  function show() {
    var seconds = Math.round((Date.now() - last) / 1000), stale = seconds >= STALE_AFTER;
    document.body.classList.toggle("stale", stale && !paused);
    find("stale").hidden = !stale || paused;
    find("silence").textContent = seconds;
    find("refreshed").textContent = paused
      ? "Not refreshed for " + seconds + " s, while text is selected."
      : "Refreshed " + seconds + " s ago.";
    document.title = (stale && !paused ? "STALE " : "") + title;
  }
  function put(next) {
    var main = next.querySelector("main"), old = document.querySelector("main");
    if (!main) { throw new Error("no page"); }
    old.querySelectorAll("details[id]").forEach(function (each) {
      var same = next.getElementById(each.id);
      if (same && each.open !== (each.dataset.begin === "open")) { same.open = each.open; }
    });
    var x = window.scrollX, y = window.scrollY;
    old.replaceWith(document.adoptNode(main));
    window.scrollTo(x, y);
    document.querySelector("link[rel=icon]").href = next.querySelector("link[rel=icon]").href;
    title = next.title;
    last = Date.now();
  }
  function refresh() {
    var abort = new AbortController(), timer = setTimeout(function () { abort.abort(); }, 4000);
    paused = String(window.getSelection()) !== "";
    if (paused) { clearTimeout(timer); show(); setTimeout(refresh, 1000); return; }
    fetch(location.href, {cache: "no-store", signal: abort.signal}).then(function (answer) {
      if (!answer.ok) { throw new Error(answer.status); }
      return answer.text();
    }).then(function (text) {
      put(new DOMParser().parseFromString(text, "text/html"));
    }).catch(function () {}).then(function () {
      clearTimeout(timer);
      show();
      setTimeout(refresh, 1000 * REFRESH_INTERVAL);
    });
  }
  setInterval(show, 1000);
  setTimeout(refresh, 1000 * REFRESH_INTERVAL);
}());
""".replace("STALE_AFTER", str(STALE_AFTER)).replace("REFRESH_INTERVAL", str(REFRESH_INTERVAL))


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"


CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src {_hash(STYLE)}",
        f"script-src {_hash(SCRIPT)}",
        "img-src data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""The value of the header Content-Security-Policy (W3C CSP 3) with which the page is served."""
