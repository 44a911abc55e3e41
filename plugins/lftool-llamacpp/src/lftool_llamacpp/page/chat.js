// The chat page of a served bundle. What a model says is untrusted: it becomes text nodes, and nothing else.
"use strict";

const $ = (id) => document.getElementById(id);
const conversation = [];
let about = {};
let key = sessionStorage.getItem("key") || "";
let running = null;
let epoch = 0; // counts conversations

function headers() {
  return key ? { "Content-Type": "application/json", Authorization: `Bearer ${key}` } : { "Content-Type": "application/json" };
}

function tell(text, wrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", wrong);
}

function element(name, text, ...classes) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  made.classList.add(...classes);
  return made;
}

// Show text; what stands between fences is shown as code.
function show(place, text) {
  place.replaceChildren();
  text.split(/^```[^\n`]*\n?/m).forEach((part, index) => {
    const clean = part.replace(/\n$/, "");
    if (index % 2) place.append(element("pre", clean));
    else if (clean) place.append(document.createTextNode(clean));
  });
}

function article(who, mine) {
  const made = element("article");
  if (mine) made.classList.add("mine");
  const said = element("div", undefined, "said");
  made.append(element("h2", who), said);
  $("log").append(made);
  return { made, said };
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

function finish(turn, text, why) {
  turn.made.removeAttribute("aria-busy");
  const under = element("div", undefined, "under");
  if (text) {
    const button = element("button", "Copy");
    button.type = "button";
    button.setAttribute("aria-label", "Copy this answer");
    button.addEventListener("click", () => copy(text, button));
    under.append(button);
  }
  if (why) under.append(element("span", why));
  turn.made.append(under);
}

function showContext(used) {
  const whole = about.context || 0;
  $("used").value = whole ? Math.min(used / whole, 1) : 0;
  $("tokens").textContent = whole ? `${used} of ${whole} tokens` : `${used} tokens`;
}

async function problem(answer) {
  try {
    const { error } = await answer.json();
    return error.message || `HTTP ${answer.status}`;
  } catch {
    return `HTTP ${answer.status}`;
  }
}

// Yield the events of a stream.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    waiting += value;
    const lines = waiting.split("\n");
    waiting = lines.pop();
    for (const line of lines) {
      const data = line.startsWith("data: ") ? line.slice(6).trim() : "";
      if (data === "[DONE]") return;
      if (data) yield JSON.parse(data);
    }
  }
}

async function ask(question) {
  const system = $("system").value.trim();
  const messages = [...conversation, { role: "user", content: question }];
  const mine = epoch;
  // A system prompt that was emptied is sent as well: else the bundle's own would take its place.
  if (system || about.system) messages.unshift({ role: "system", content: system });
  show(article("You", true).said, question);
  const turn = article(about.name || "Model", false);
  turn.made.setAttribute("aria-busy", "true");
  const stop = running = new AbortController();
  busy(true);
  let text = "", why = "", asked = false;
  try {
    const answer = await fetch("/v1/chat/completions", {
      method: "POST",
      headers: headers(),
      signal: stop.signal,
      body: JSON.stringify({ messages, stream: true, stream_options: { include_usage: true } }),
    });
    if (answer.status === 401) {
      await unlock("The key was refused.");
      throw new Error("ask again");
    }
    if (!answer.ok) throw new Error(await problem(answer));
    for await (const event of events(answer.body)) {
      stop.signal.throwIfAborted(); // a short answer comes whole, and nothing is left to abort
      if (event.error) throw new Error(event.error.message);
      const choice = event.choices && event.choices[0];
      if (choice && choice.delta && choice.delta.content) {
        const low = $("log").scrollHeight - $("log").scrollTop - $("log").clientHeight < 40;
        text = (text + choice.delta.content).trimStart(); // a template ends before the space that begins an answer
        show(turn.said, text);
        if (low) $("log").scrollTop = $("log").scrollHeight;
      }
      if (choice && choice.finish_reason === "length") why = "cut off: no more tokens were allowed";
      if (event.usage) showContext(event.usage.total_tokens);
    }
    asked = true;
  } catch (error) {
    if (error.name === "AbortError") {
      why = "stopped";
      asked = true;
    } else {
      why = "no answer";
      tell(error.message || String(error), true);
    }
  }
  if (asked && mine === epoch) conversation.push({ role: "user", content: question }, { role: "assistant", content: text });
  finish(turn, text, why);
  running = null;
  busy(false);
  return asked;
}

function busy(is) {
  $("send").hidden = is;
  $("stop").hidden = !is;
  $("text").setAttribute("aria-disabled", String(is));
}

async function unlock(refused = "") {
  $("refused").textContent = refused;
  $("key").value = "";
  await new Promise((resolve) => {
    $("locked").addEventListener("close", resolve, { once: true });
    $("locked").showModal();
  });
  key = $("key").value;
  sessionStorage.setItem("key", key);
}

async function introduce() {
  for (let refused = ""; ; refused = "That key is not the one.") {
    const answer = await fetch("/lftool.json", { headers: headers() });
    if (answer.status !== 401) {
      if (!answer.ok) throw new Error(await problem(answer));
      about = await answer.json();
      break;
    }
    await unlock(refused);
  }
  $("name").textContent = document.title = about.version ? `${about.name} ${about.version}` : about.name;
  $("facts").textContent = [about.signature, about.license].filter(Boolean).join(" · ");
  $("system").value = about.system || "";
  showContext(0);
  if (about.does !== "generates") {
    tell("This model makes no text. Ask /v1/embeddings or /v1/rerank.");
    $("text").disabled = $("send").disabled = true;
  }
}

$("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  const question = $("text").value;
  if (running || !question.trim()) return;
  tell("");
  $("text").value = "";
  if (!(await ask(question)) && !$("text").value) $("text").value = question;
  $("text").focus();
});
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("ask").requestSubmit();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && running) running.abort();
});
$("stop").addEventListener("click", () => running && running.abort());
$("clear").addEventListener("click", () => {
  if (running) running.abort();
  epoch += 1;
  conversation.length = 0;
  $("log").replaceChildren();
  showContext(0);
  tell("");
  $("text").focus();
});
$("theme").addEventListener("click", () => {
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark"
    || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", document.documentElement.dataset.theme);
});
const theme = localStorage.getItem("theme");
if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
introduce().catch((error) => tell(error.message || String(error), true));
