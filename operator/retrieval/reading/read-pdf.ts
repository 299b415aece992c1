import { getDocumentProxy } from "unpdf";
import type { Block } from "../chunking/block.ts";
import { scanPlainText } from "../chunking/scan-lines.ts";
import { DocumentRefused } from "./document-refused.ts";

/** A gap between two lines that is this much larger than the text is high starts a new paragraph. */
const PARAGRAPH_GAP = 1.6;

/**
 * The text layer of a PDF: lines as the file gives them, a blank line where the page leaves a gap, pages parted by a
 * blank line. Scanned pages have no text layer and give nothing.
 *
 * @throws {DocumentRefused} When it is no PDF, is encrypted, has too many pages, or its text grows past `maxTextBytes`.
 */
export async function readPdf(bytes: Uint8Array, maxPages: number, maxTextBytes: number) {
  const pdf = await openPdf(bytes);
  try {
    if (pdf.numPages > maxPages) {
      throw new DocumentRefused("size", `it has ${pdf.numPages} pages, more than ${maxPages}`);
    }
    const pages: string[] = [];
    let size = 0;
    for (let number = 1; number <= pdf.numPages; number++) {
      const text = await pageText(pdf, number);
      if (text === "") continue;
      size += Buffer.byteLength(text) + 2;
      if (size > maxTextBytes) throw new DocumentRefused("size", `its text is longer than ${maxTextBytes} bytes`);
      pages.push(text);
    }
    const text = pages.join("\n\n");
    const blocks: Block[] = scanPlainText(text);
    return { text, blocks };
  } finally {
    await pdf.loadingTask.destroy();
  }
}

type Pdf = Awaited<ReturnType<typeof getDocumentProxy>>;

async function openPdf(bytes: Uint8Array): Promise<Pdf> {
  try {
    return await getDocumentProxy(bytes, {
      disableFontFace: true,
      useSystemFonts: false,
      enableXfa: false,
      stopAtErrors: false,
      verbosity: 0,
    });
  } catch (cause) {
    throw new DocumentRefused("broken", `it cannot be read as PDF: ${(cause as Error).message}`);
  }
}

async function pageText(pdf: Pdf, number: number): Promise<string> {
  try {
    const page = await pdf.getPage(number);
    const { items } = await page.getTextContent();
    page.cleanup();
    let text = "";
    let lastY: number | undefined;
    for (const item of items) {
      if (!("str" in item)) continue;
      const y = item.transform[5] as number;
      if (item.str !== "") {
        if (lastY !== undefined && text.endsWith("\n") && lastY - y > PARAGRAPH_GAP * item.height) text += "\n";
        lastY = y;
      }
      text += item.str;
      if (item.hasEOL) text += "\n";
    }
    return text
      .replace(/[^\S\n]+/g, " ")
      .replace(/ ?\n ?/g, "\n")
      .replace(/\n{3,}/g, "\n\n")
      .replaceAll("\0", "")
      .toWellFormed()
      .trim();
  } catch (cause) {
    throw new DocumentRefused("broken", `page ${number} cannot be read: ${(cause as Error).message}`);
  }
}
