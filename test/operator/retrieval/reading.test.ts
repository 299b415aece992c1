import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { DocumentReader } from "../../../operator/retrieval/reading/document-reader.ts";
import { DocumentRefused, type RefusalCode } from "../../../operator/retrieval/reading/document-refused.ts";
import { DEFAULT_READING_LIMITS } from "../../../operator/retrieval/reading/reading-limits.ts";
import { pdfBomb, pdfFile } from "./pdf-file.ts";

describe("Reading documents", () => {
  let reader: DocumentReader;
  before(() => {
    reader = new DocumentReader({
      ...DEFAULT_READING_LIMITS,
      maxTextBytes: 1_000_000,
      maxMilliseconds: 4_000,
      maxMemoryBytes: 320 * 2 ** 20,
    });
  });
  after(() => reader.close());

  const read = (path: string, bytes: string | Uint8Array, mediaType?: string) =>
    reader.read({
      path,
      bytes: typeof bytes === "string" ? Buffer.from(bytes) : bytes,
      ...(mediaType && { mediaType }),
    });

  const refuses = (code: RefusalCode, message: RegExp) => (error: unknown) => {
    assert.ok(error instanceof DocumentRefused, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, message);
    return true;
  };

  test("the path decides where the media type is generic, the media type where it names a format", async () => {
    assert.equal((await read("a.md", "# One\ntwo", "text/plain")).blocks[0].kind, "heading");
    assert.equal((await read("page", "<h1>One</h1>", "text/html; charset=utf-8")).blocks[0].kind, "heading");
    await assert.rejects(read("a.bin", "x", "application/octet-stream"), refuses("format", /octet-stream/));
    await assert.rejects(read("README", "x"), refuses("format", /no media type/));
  });

  test("HTML gives visible text and its structure", async () => {
    const { text, blocks, rangeOver } = await read(
      "a.html",
      `<!doctype html><title>Otters &amp; beavers</title><style>p{}</style><script>alert(1)</script>
       <h1>Otters</h1><p>They   <b>sleep</b>\n in kelp.<p hidden>secret</p>
       <div style="display: none">credit me</div><ul><li>one<li>two</ul>
       <table><tr><th>a<th>b<tr><td>1<td>2</table><pre>  x\n y</pre><p>line<br>break`,
    );
    assert.equal(
      text,
      "Otters & beavers\n\nOtters\n\nThey sleep in kelp.\n\none\n\ntwo\n\na | b\n1 | 2\n\n  x\n y\n\nline\nbreak",
    );
    assert.deepEqual(
      blocks.map(({ kind, start, end }) => [kind, text.slice(start, end)]),
      [
        ["heading", "Otters & beavers"],
        ["heading", "Otters"],
        ["paragraph", "They sleep in kelp."],
        ["item", "one"],
        ["item", "two"],
        ["table", "a | b\n1 | 2"],
        ["code", "  x\n y"],
        ["paragraph", "line\nbreak"],
      ],
    );
    assert.equal(rangeOver, "extracted");
  });

  test("HTML is decoded by mark, media type or its own declaration, and never with replacement characters", async () => {
    const latin = Buffer.from("<meta charset=iso-8859-1><p>caf\xe9", "latin1");
    assert.equal((await read("a.html", latin)).text, "café");
    assert.equal((await read("a.html", Buffer.from("\ufeff<p>ж", "utf16le"))).text, "ж");
    await assert.rejects(read("a.html", Buffer.from("<p>caf\xe9", "latin1")), refuses("encoding", /not valid utf-8/));
    await assert.rejects(read("a.html", "<p>x", "text/html; charset=klingon"), refuses("encoding", /klingon/));
  });

  test("PDF gives its lines, page after page", async () => {
    const pdf = pdfFile([["Otters sleep in kelp.", "They hold hands (often)."], ["Second page."]]);
    const { text, rangeOver, bytes } = await read("a.pdf", pdf);
    assert.equal(text, "Otters sleep in kelp.\nThey hold hands (often).\n\nSecond page.");
    assert.equal(rangeOver, "extracted");
    assert.equal(Buffer.from(bytes).toString(), text);
  });

  test("a broken PDF is refused, and the next one is read", async () => {
    const pdf = pdfFile([["Still here."]]);
    await assert.rejects(read("a.pdf", "%PDF-1.7 nothing follows"), refuses("broken", /cannot be read as PDF/));
    await assert.rejects(read("a.pdf", Buffer.alloc(100_000, 7)), refuses("broken", /cannot be read as PDF/));
    assert.equal((await read("a.pdf", pdf)).text, "Still here.");
  });

  test("a PDF that inflates without end is refused for its memory, and the next one is read", async () => {
    const bomb = pdfBomb(600);
    assert.ok(bomb.length < 2 ** 20);
    await assert.rejects(read("bomb.pdf", bomb), refuses("memory", /more than 320 MB/));
    assert.equal((await read("a.pdf", pdfFile([["Next."]]))).text, "Next.");
  });

  test("HTML nested a million deep is refused for its time, and the next one is read", async () => {
    const nested = `${"<div>".repeat(2_000_000)}deep`;
    await assert.rejects(read("a.html", nested), refuses("time", /longer than 4 s/));
    assert.equal((await read("a.html", `${"<div>".repeat(5_000)}deep`)).text, "deep");
  });

  test("text that is not UTF-8 is refused with the byte that breaks it", async () => {
    const bytes = Buffer.concat([Buffer.from("ж".repeat(1000)), Buffer.from([0xc3, 0x28]), Buffer.from("more")]);
    await assert.rejects(read("a.txt", bytes), refuses("encoding", /not valid UTF-8 at byte 2001$/));
    await assert.rejects(read("a.md", Buffer.from([0x61, 0xff])), refuses("encoding", /at byte 1$/));
    await assert.rejects(read("a.txt", "a\0b"), refuses("encoding", /zero byte at 1/));
  });

  test("a document of 50 MB, one of too much text and one without any are refused", async () => {
    await assert.rejects(read("a.txt", Buffer.alloc(50_000_000, "a ")), refuses("size", /50000000 bytes/));
    await assert.rejects(read("a.md", Buffer.alloc(2_000_000, "a ")), refuses("size", /text is longer/));
    await assert.rejects(read("a.html", `<p>${"&#x20AC;".repeat(400_000)}`), refuses("size", /longer than 1000000/));
    await assert.rejects(read("a.txt", " \n\n "), refuses("empty", /no text/));
    await assert.rejects(read("a.html", "<script>x</script>"), refuses("empty", /no text/));
  });

  test("a byte order mark shifts ranges, not text", async () => {
    const { text, first } = await read("a.txt", "\ufeffOtters");
    assert.deepEqual([text, first], ["Otters", 3]);
  });
});
