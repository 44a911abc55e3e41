// Use the chat page in a real browser: node chat_page.mjs PLAYWRIGHT CHROMIUM URL CASE [ARGUMENTS]. Prints what was seen, as JSON.
import { createRequire } from "node:module";

const [playwright, executablePath, url, name, ...given] = process.argv.slice(2);
const { chromium } = createRequire(import.meta.url)(playwright);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu", "--disable-quic"] });

async function open(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1000, height: 700 }, ...options });
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  const page = await context.newPage();
  const seen = { asked: [], said: [] };
  page.on("request", (request) => seen.asked.push(request.url()));
  page.on("console", (message) => seen.said.push(message.text()));
  page.on("pageerror", (error) => seen.said.push(String(error)));
  await page.goto(url);
  return { page, seen };
}

const answers = (page) => page.locator("article:not(.mine)");
const finished = (page, count) => page.waitForFunction(
  (wanted) => document.querySelectorAll("article:not(.mine) .under").length === wanted, count, { timeout: 60000 });

async function ask(page, text) {
  const count = await answers(page).count();
  await page.getByLabel("Message").fill(text);
  await page.keyboard.press("Enter");
  await finished(page, count + 1);
}

const introduced = (page) => page.waitForFunction(() => document.title !== "Chat");
const wide = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

const cases = {
  async conversation() {
    const { page, seen } = await open();
    await introduced(page);
    await ask(page, "Tell me a story about a fox.");
    const first = await page.locator("#tokens").textContent();
    await ask(page, "And a drum.");
    await answers(page).first().getByRole("button", { name: "Copy this answer" }).click();
    return {
      title: await page.title(),
      facts: await page.locator("#facts").textContent(),
      questions: await page.locator("article.mine .said").allTextContents(),
      answers: await answers(page).locator(".said").allTextContents(),
      copied: await page.evaluate(() => navigator.clipboard.readText()),
      tokens: [first, await page.locator("#tokens").textContent()],
      asked: [...new Set(seen.asked.map((one) => new URL(one).origin))],
      said: seen.said,
    };
  },
  async failure() {
    const { page } = await open();
    await introduced(page);
    await ask(page, "fox ".repeat(2000));
    const problem = await page.locator("#status").textContent();
    const kept = (await page.getByLabel("Message").inputValue()).length;
    await page.getByLabel("Message").fill("");
    await ask(page, "Tell me a story about a fox.");
    return { problem, kept, then: await answers(page).last().locator(".said").textContent() };
  },
  async stop() {
    const { page } = await open();
    await introduced(page);
    const stopped = [];
    for (const how of ["button", "Escape"]) {
      // At the first word: a small model would have finished before a hand could move.
      await page.evaluate((escape) => new MutationObserver((changes, observer) => {
        if (!document.querySelector("article[aria-busy] .said")?.textContent) return;
        observer.disconnect();
        if (escape) document.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape" }));
        else document.getElementById("stop").click();
      }).observe(document.getElementById("log"), { childList: true, subtree: true, characterData: true }), how === "Escape");
      await ask(page, given[0]);
      await page.getByRole("button", { name: "Send" }).waitFor();
      stopped.push(await answers(page).last().locator(".under span").textContent());
    }
    await page.getByRole("button", { name: "New chat" }).click();
    return { stopped, left: await page.locator("article").count() };
  },
  async phone() {
    const { page } = await open({ viewport: { width: 390, height: 800 }, colorScheme: "dark" });
    await introduced(page);
    await ask(page, `A${"a".repeat(200)}`);
    const dark = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    await page.getByRole("button", { name: "Switch between light and dark" }).click();
    const light = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const send = await page.getByRole("button", { name: "Send" }).boundingBox();
    if (given[0]) await page.screenshot({ path: given[0] });
    return { over: await wide(page), dark, light, inside: send.x + send.width <= 390 && send.y + send.height <= 800 };
  },
  async key() {
    const { page } = await open();
    const dialog = page.getByRole("dialog");
    await dialog.waitFor();
    await page.getByLabel("API key").fill("wrong");
    await page.keyboard.press("Enter");
    await page.getByText("That key is not the one.").waitFor();
    await page.getByLabel("API key").fill(given[0]);
    await page.keyboard.press("Enter");
    await introduced(page);
    await ask(page, "Tell me a story about a fox.");
    return { title: await page.title(), answer: await answers(page).last().locator(".said").textContent() };
  },
  async hostile() {
    const { page, seen } = await open();
    await introduced(page);
    const text = "<img src=x onerror=alert(1)><script>document.title='owned'</script>\n```html\n<b>bold</b>\n```\n[x](javascript:alert(1))";
    const event = { choices: [{ index: 0, delta: { content: text }, finish_reason: null }] };
    await page.route("**/v1/chat/completions", (route) => route.fulfill({
      contentType: "text/event-stream", body: `data: ${JSON.stringify(event)}\n\ndata: [DONE]\n\n`,
    }));
    await ask(page, "<b>me</b>");
    return {
      inside: await page.locator("#log").evaluate((log) => [...new Set([...log.querySelectorAll("*")].map((one) => one.localName))].sort()),
      shown: await answers(page).last().locator(".said").textContent(),
      mine: await page.locator("article.mine .said").textContent(),
      title: await page.title(),
      said: seen.said,
    };
  },
  async picture() {
    const [path, ...questions] = given;
    const { page } = await open({ viewport: { width: 880, height: 620 }, colorScheme: "light" });
    await introduced(page);
    for (const question of questions) await ask(page, question);
    await page.screenshot({ path });
    return {};
  },
};

try {
  console.log(JSON.stringify(await cases[name]()));
} finally {
  await browser.close();
}
