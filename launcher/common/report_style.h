// How the report looks.
#pragma once

namespace dualpath {

// Series colours: Okabe and Ito's, which people with any colour vision tell apart, darkened or
// lightened where the background asks for it.
inline constexpr const char* report_style = R"(:root {
  color-scheme: light dark;
  --background: #ffffff; --text: #1c2127; --muted: #5a6370; --line: #d5dae0; --best: #e8f3fb;
  --axis: #6b7480; --grid: #e4e8ec;
  --series-0: #0072b2; --series-1: #d55e00; --series-2: #00855f; --series-3: #a0479b;
  --series-4: #9a7500; --series-5: #3a9fd6; --series-6: #d6336c; --series-7: #5c5f66;
}
@media (prefers-color-scheme: dark) {
  :root {
    --background: #14171b; --text: #e4e8ec; --muted: #9aa4b0; --line: #353c45; --best: #17324a;
    --axis: #8d97a3; --grid: #2b3138;
    --series-0: #56b4e9; --series-1: #ff8c42; --series-2: #2fc79a; --series-3: #d39ae0;
    --series-4: #f0c93f; --series-5: #8fe3f2; --series-6: #ff8fb3; --series-7: #b9c0c9;
  }
}
body {
  max-width: 68rem; margin: 0 auto; padding: 1rem; background: var(--background); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif;
}
h1, h2, h3, h4 { line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin: 2.5rem 0 0.5rem; }
h3, h4 { margin: 1.5rem 0 0.5rem; }
p, li { color: var(--muted); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.7rem; border-bottom: 1px solid var(--line); text-align: right; }
th { font-weight: 600; line-height: 1.2; vertical-align: bottom; }
td { overflow-wrap: break-word; }
.text { text-align: left; }
tr > :first-child { position: sticky; left: 0; background: var(--background); }
.best td, .best td:first-child { background: var(--best); font-weight: 600; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); gap: 1rem; }
figure { margin: 0.5rem 0 0; }
figcaption { font-weight: 600; font-size: 0.95rem; }
figure > svg { display: block; width: 100%; height: auto; }
.legend {
  display: flex; flex-wrap: wrap; gap: 0.1rem 1.2rem; margin: 0.2rem 0 0; padding: 0; list-style: none;
  font-size: 0.85rem;
}
.legend svg { width: 28px; height: 10px; margin-right: 0.4rem; }
@media (max-width: 40rem) {
  table { font-size: 0.8rem; }
  th, td { padding: 0.25rem 0.4rem; }
}
summary { cursor: pointer; }
)";

}  // namespace dualpath
