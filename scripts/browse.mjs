// Looks at a site with a real browser: headless Chromium, driven over the DevTools protocol through
// a pipe, so that nothing but node and Chromium is needed (and axe-core for `audit`).
//
//   node scripts/browse.mjs audit JOB.json         all that a job asks of pages; findings are lines, exit 1
//   node scripts/browse.mjs age FOLDER PAGE        whether PAGE of the site in FOLDER is honest about its age
//   node scripts/browse.mjs shot URL FILE WIDTH [HEIGHT]   a picture
//
// A job: { axe: "axe.min.js", pages: [{ url, fill?, submit?, button?, status? }], widths: [320], schemes: ["light"] }.
// `submit`: the page's form is sent, with the values of `fill` by name, by its first button or by the one that the
// selector `button` finds, and what comes back is looked at. The browser is the one that
// WATCHBELL_CHROMIUM names, else `chromium`.
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const FLAGS = [
    "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--disable-extensions", "--mute-audio", "--remote-debugging-pipe",
];
const WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
/** Nothing that a page does takes longer, on a busy machine either. */
const LIMIT_MS = 60_000;

class Browser {
    #next = 1;
    #waiting = new Map();
    #listeners = new Set();

    static async start() {
        const browser = new Browser();
        browser.profile = fs.mkdtempSync(path.join(os.tmpdir(), "browse-"));
        const flags = [...FLAGS, `--user-data-dir=${browser.profile}`];
        if (process.getuid?.() === 0) flags.push("--no-sandbox");
        browser.child = spawn(process.env.WATCHBELL_CHROMIUM || "chromium", [...flags, "about:blank"], {
            stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
        });
        browser.child.on("exit", () => {
            for (const { reject } of browser.#waiting.values()) reject(new Error("the browser ended"));
        });
        let rest = Buffer.alloc(0);
        browser.child.stdio[4].on("data", (chunk) => {
            rest = Buffer.concat([rest, chunk]);
            for (let end; (end = rest.indexOf(0)) >= 0; rest = rest.subarray(end + 1)) {
                browser.#take(JSON.parse(rest.subarray(0, end).toString()));
            }
        });
        await browser.renew();
        return browser;
    }

    /** A new tab, whose clock is right. */
    async renew() {
        this.session = undefined;
        const { targetId } = await this.send("Target.createTarget", { url: "about:blank" });
        const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
        this.session = sessionId;
        for (const domain of ["Page", "Network", "Runtime", "Log", "Audits"]) await this.send(`${domain}.enable`);
        await this.look(390, "light");
    }

    #take(message) {
        if (message.id) {
            const { resolve, reject } = this.#waiting.get(message.id);
            this.#waiting.delete(message.id);
            message.error ? reject(new Error(message.error.message)) : resolve(message.result);
        } else {
            for (const listener of [...this.#listeners]) listener(message.method, message.params);
        }
    }

    send(method, params = {}) {
        const id = this.#next++;
        const message = { id, method, params, ...(this.session && { sessionId: this.session }) };
        return new Promise((resolve, reject) => {
            this.#waiting.set(id, { resolve, reject });
            this.child.stdio[3].write(JSON.stringify(message) + "\0");
        });
    }

    listen(listener) {
        this.#listeners.add(listener);
        return () => this.#listeners.delete(listener);
    }

    /** Resolves at the next event of that name. */
    next(name) {
        return new Promise((resolve, reject) => {
            const limit = setTimeout(() => reject(new Error(`no ${name} in time`)), LIMIT_MS);
            const stop = this.listen((method, params) => {
                if (method !== name) return;
                clearTimeout(limit);
                stop();
                resolve(params);
            });
        });
    }

    async evaluate(expression, userGesture = false) {
        const { result, exceptionDetails } = await this.send("Runtime.evaluate", {
            expression, awaitPromise: true, returnByValue: true, userGesture,
        });
        if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
        return result.value;
    }

    async goto(url) {
        const loaded = this.next("Page.loadEventFired");
        const { errorText } = await this.send("Page.navigate", { url });
        if (errorText) throw new Error(`${url}: ${errorText}`);
        await loaded;
    }

    async look(width, scheme, height = 800) {
        await this.send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: false });
        await this.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
    }

    async picture(file, clip) {
        const { data } = await this.send("Page.captureScreenshot", { format: "png", clip, captureBeyondViewport: true });
        fs.writeFileSync(file, Buffer.from(data, "base64"));
    }

    async stop() {
        const ended = once(this.child, "exit");
        this.session = undefined;
        this.send("Browser.close").catch(() => {});
        const limit = setTimeout(() => this.child.kill("SIGKILL"), 5000);
        await ended;
        clearTimeout(limit);
        fs.rmSync(this.profile, { recursive: true, force: true, maxRetries: 5 });
    }
}

/** What a page does that it should not: requests elsewhere, errors, complaints of the console. */
function watch(browser, page, report) {
    const own = new URL(page.url);
    const expected = page.status ?? 200;
    return browser.listen((method, params) => {
        if (method === "Network.requestWillBeSent") {
            const url = new URL(params.request.url);
            if (url.protocol !== own.protocol || url.host !== own.host) report(`a request to ${url}`);
        } else if (method === "Network.responseReceived") {
            const { status, url } = params.response;
            const isAnswer = params.type === "Document" && !(page.submit && url === page.url);
            const wanted = isAnswer ? expected : 200;
            if (own.protocol !== "file:" && status !== wanted && status !== 304) report(`${status} for ${url}`);
        } else if (method === "Network.loadingFailed" && !params.canceled) {
            report(`a request failed: ${params.errorText} ${params.blockedReason ?? ""}`);
        } else if (method === "Runtime.consoleAPICalled") {
            report(`console: ${params.args.map((arg) => arg.value ?? arg.description).join(" ")}`);
        } else if (method === "Runtime.exceptionThrown") {
            report(`exception: ${params.exceptionDetails.exception?.description ?? params.exceptionDetails.text}`);
        } else if (method === "Log.entryAdded") {
            const ours = expected >= 400 && params.entry.text.includes(`status of ${expected}`);
            if (!ours) report(`log: ${params.entry.text}`);
        } else if (method === "Audits.issueAdded") {
            report(`issue: ${params.issue.code} ${JSON.stringify(params.issue.details)}`);
        }
    });
}

/** In the page: what does not fit into its width. */
const TOO_WIDE = `(() => {
    const root = document.documentElement;
    if (root.scrollWidth <= root.clientWidth) return null;
    const wide = [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > root.clientWidth + 1);
    const names = wide.slice(0, 5).map((e) => e.tagName.toLowerCase() + "." + [...e.classList].join("."));
    return root.scrollWidth + " px wide: " + names.join(" ");
})()`;

/** In the page: links of a site on disk that lead to no file. */
const FILE_LINKS = `[...document.querySelectorAll("a[href], link[href], img[src]")]
    .map((e) => e.href || e.src).filter((url) => url.startsWith("file:"))`;

async function audit(job) {
    const browser = await Browser.start();
    const axe = job.axe && fs.readFileSync(job.axe, "utf8");
    let findings = 0;
    let looks = 0;
    try {
        for (const page of job.pages) for (const scheme of job.schemes) for (const width of job.widths) {
            const seen = new Set();
            const report = (what) => {
                if (seen.has(what)) return;
                seen.add(what);
                findings++;
                console.log(`${page.url}${page.submit ? " (sent)" : ""} ${scheme} ${width}: ${what}`);
            };
            looks++;
            await browser.look(width, scheme);
            const stop = watch(browser, page, report);
            await browser.goto(page.url);
            if (page.submit) {
                for (const [name, value] of Object.entries(page.fill ?? {})) {
                    await browser.evaluate(`document.querySelector('main [name="${name}"]').value = ${JSON.stringify(value)}`);
                }
                const loaded = browser.next("Page.loadEventFired");
                await browser.evaluate(`document.querySelector(${JSON.stringify(`main form ${page.button || "button"}`)}).click()`, true);
                await loaded;
            }
            const wide = await browser.evaluate(TOO_WIDE);
            if (wide) report(wide);
            const styled = await browser.evaluate(`getComputedStyle(document.body).margin + getComputedStyle(document.body).fontFamily`);
            if (styled.startsWith("8px")) report("no style");
            if (page.url.startsWith("file:")) {
                for (const url of new Set(await browser.evaluate(FILE_LINKS))) {
                    const file = fileURLToPath(new URL(url.split("#")[0]));
                    if (!fs.existsSync(file) || fs.statSync(file).isDirectory()) report(`a link to no file: ${url}`);
                }
            }
            if (axe) {
                await browser.evaluate(`${axe}; undefined`);
                const violations = await browser.evaluate(`axe.run(document, {
                    runOnly: { type: "tag", values: ${JSON.stringify(WCAG)} }, resultTypes: ["violations"],
                }).then((r) => r.violations.flatMap((v) => v.nodes.map((n) => v.id + ": " + n.target.join(" ") + ": " + n.failureSummary)))`);
                for (const violation of violations) report(`axe: ${violation.replace(/\s+/g, " ")}`);
            }
            stop();
        }
    } finally {
        await browser.stop();
    }
    console.log(`${job.pages.length} pages, ${looks} looks, ${findings} findings`);
    return findings === 0;
}

/** A server of `folder` whose files can be changed on the way and whose clock is set. */
function serve(folder) {
    const types = { ".html": "text/html; charset=utf-8", ".css": "text/css", ".svg": "image/svg+xml" };
    const site = { change: (text) => text, now: () => new Date(), alive: true, asked: 0 };
    const server = http.createServer((request, response) => {
        const url = new URL(request.url, "http://localhost");
        let file = path.join(folder, decodeURIComponent(url.pathname));
        if (url.pathname.endsWith("/")) file = path.join(file, "index.html");
        if (!site.alive) {
            request.socket.destroy();
            return;
        }
        if (!fs.existsSync(file)) {
            response.writeHead(404).end();
            return;
        }
        const type = types[path.extname(file)] ?? "application/octet-stream";
        response.writeHead(200, { "content-type": type, date: site.now().toUTCString() });
        if (path.extname(file) === ".html") site.asked++;
        response.end(path.extname(file) === ".html" ? site.change(fs.readFileSync(file, "utf8")) : fs.readFileSync(file));
    });
    return new Promise((resolve) => server.listen(0, "127.0.0.1", () => {
        site.url = `http://127.0.0.1:${server.address().port}/`;
        site.stop = () => { server.closeAllConnections(); server.close(); };
        resolve(site);
    }));
}

const META = /(name="watchbell:fresh-until" content=")([^"]+)"/;
const MINUTES = 60_000;

async function age(folder, page) {
    const site = await serve(folder);
    const browser = await Browser.start();
    let failed = 0;
    const claim = (good, what) => {
        if (!good) failed++;
        console.log(`${good ? "ok" : "NOT OK"}: ${what}`);
    };
    const dated = (minutes, word = "") => (text) => text
        .replace(META, (_, head) => `${head}${new Date(Date.now() + minutes * MINUTES).toISOString()}"`)
        .replace("</main>", `<p id="word">${word}</p></main>`);
    const banner = () => browser.evaluate(`(() => { const p = document.getElementById("stale"); return !!p && p.getClientRects().length > 0; })()`);
    const word = () => browser.evaluate(`document.getElementById("word").textContent`);
    /** Lets time pass in the browser, faster than outside; requests are waited for. */
    const pass = async (minutes) => {
        const over = browser.next("Emulation.virtualTimeBudgetExpired");
        await browser.send("Emulation.setVirtualTimePolicy", {
            policy: "pauseIfNetworkFetchesPending", budget: minutes * MINUTES, maxVirtualTimeTaskStarvationCount: 1000,
        });
        await over;
    };
    /** Opens the page at the present. */
    const open = async (url = site.url + page) => {
        await browser.renew();
        await browser.goto(url);
    };
    try {
        site.change = dated(8);
        await open();
        claim(!await banner(), "a fresh page shows no banner");
        const asked = site.asked;
        await pass(6);
        claim(!await banner() && site.asked === asked, "while it is fresh it is left alone");
        site.change = dated(19, "newer");
        await pass(4);
        claim(await word() === "newer" && !await banner(), "when its time has passed it takes what is newer");
        site.now = () => new Date(Date.now() + 40 * MINUTES);
        await pass(25);
        claim(await banner(), "when nothing newer comes, the banner appears");
        site.change = dated(60, "back");
        await pass(15);
        claim(await word() === "back" && !await banner(), "when something newer comes, it goes");

        site.change = dated(-30);
        site.now = () => new Date();
        await open();
        await pass(0.05);
        claim(await banner(), "a page that is old when it is opened says so at once");
        site.change = dated(5);
        await open();
        site.alive = false;
        await pass(8);
        claim(await banner(), "a page whose server is gone says so by the visitor's clock");
        site.alive = true;

        const copy = fs.mkdtempSync(path.join(os.tmpdir(), "age-"));
        const file = path.join(copy, "page.html");
        fs.writeFileSync(file, dated(-30)(fs.readFileSync(path.join(folder, page, "index.html"), "utf8")));
        await open(`file://${file}`);
        await pass(0.05);
        claim(await banner(), "an old page on a disk says so");
        fs.rmSync(copy, { recursive: true });
    } finally {
        await browser.stop();
        site.stop();
    }
    return failed === 0;
}

async function shot(url, file, width, height) {
    const browser = await Browser.start();
    try {
        await browser.look(Number(width), "light", Number(height ?? 800));
        await browser.goto(url);
        await browser.picture(file, { x: 0, y: 0, width: Number(width), height: Number(height ?? 800), scale: 1 });
    } finally {
        await browser.stop();
    }
    return true;
}

const [command, ...args] = process.argv.slice(2);
const commands = {
    audit: (file) => audit(JSON.parse(fs.readFileSync(file, "utf8"))),
    age,
    shot,
};
if (!commands[command]) {
    console.error("browse.mjs audit JOB.json | age FOLDER PAGE | shot URL FILE WIDTH [HEIGHT]");
    process.exit(2);
}
process.exitCode = (await commands[command](...args)) ? 0 : 1;
