import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Tokenizer } from "@huggingface/tokenizers";
import { seeded } from "../../../operator/training/random.ts";
import {
  conversationParts,
  drawConversation,
  drawForms,
  drawRepeats,
  FINAL_STAGE,
} from "../../../scripts/train/corpus.ts";
import { drawFacts, type Fact, plainSentence } from "../../../scripts/train/facts.ts";
import { NAME_HEADS, NAME_TAILS } from "../../../scripts/train/lexicon.ts";
import { drawSkillExample } from "../../../scripts/train/skill-nets.ts";
import { SKILLS } from "../../../scripts/train/skills.ts";
import { makeVocabulary } from "../../../scripts/train/vocabulary.ts";

const vocabulary = makeVocabulary(1);
const tokenizer = new Tokenizer(vocabulary.tokenizerJson, vocabulary.tokenizerConfig);

const factsOf = (split: "train" | "fresh", seed: number): Fact[] =>
  Array.from({ length: 400 }, (_, i) => drawFacts(seeded(seed, i), 3, { split })).flat();

describe("the facts of the bundled model", () => {
  const trained = factsOf("train", 1);
  const fresh = factsOf("fresh", 2);

  it("share no name between training and evaluation", () => {
    const nameOf = ({ subject }: Fact): string => subject.split(" ")[0];
    const names = new Set(trained.map(nameOf));
    assert.ok(names.size > 500);
    assert.ok(fresh.every((fact) => !names.has(nameOf(fact))));
  });

  it("share no number of three or four digits between training and evaluation", () => {
    const numbers = new Set(trained.filter(({ unit }) => unit !== "").map(({ value }) => value));
    assert.ok(fresh.every(({ value, unit }) => unit === "" || (value.length > 2 && !numbers.has(value))));
  });

  it("never say two things of one attribute of one thing", () => {
    for (let i = 0; i < 200; i++) {
      const facts = drawFacts(seeded(3, i), 12, { split: "train" });
      assert.equal(new Set(facts.map(({ attribute, subject }) => `${attribute} ${subject}`)).size, 12);
    }
  });

  it("stand in the conversation's documents, which are asked about one by one", () => {
    for (let i = 0; i < 100; i++) {
      const stage = { ...FINAL_STAGE, inline: 0, talk: 0 };
      const { system, turns } = drawConversation(seeded(4, i), stage, "train");
      for (const { answer } of turns) {
        const value = answer.slice(answer.indexOf(" is ") + 4, -1);
        assert.ok(system.includes(value), `${value} in ${system}`);
      }
    }
  });
});

describe("the tokenizer of the bundled model", () => {
  it("reads every text that training draws without falling back to bytes", () => {
    for (let i = 0; i < 100; i++) {
      const random = seeded(5, i);
      const text = conversationParts(drawConversation(random, FINAL_STAGE, "train"));
      const skill = random.pick(SKILLS);
      for (const sample of [
        ...text.map((part) => part.text),
        drawForms(random, "train"),
        drawSkillExample(random, skill, "train").answer,
      ]) {
        const { tokens } = tokenizer.encode(sample, { add_special_tokens: false });
        const words = sample.split(/\P{L}/u);
        const letters = tokens
          .map((token: string) => token.replace("Ġ", ""))
          .filter((token: string) => /^[a-z]$/i.test(token) && !words.includes(token));
        assert.deepEqual(letters, [], sample);
      }
    }
  });

  it("makes a name its two parts, and a number its digits", () => {
    for (const head of NAME_HEADS) {
      for (const tail of NAME_TAILS) assert.equal(vocabulary.encode(` ${head}${tail}`).length, 2, head + tail);
    }
    assert.deepEqual(
      vocabulary.encode("4071").map((id) => id - vocabulary.digit),
      [4, 0, 7, 1],
    );
  });

  it("gives any text back as it was", () => {
    for (const text of ["Grüße, 世界! 🦜", "a\n\n  b\t", '{"value": 42}', "<p>&amp;</p>"]) {
      assert.equal(tokenizer.decode(vocabulary.encode(text), { clean_up_tokenization_spaces: false }), text);
    }
  });

  it("is the same every time it is made", () => {
    assert.deepEqual(makeVocabulary(1).tokenizerJson, vocabulary.tokenizerJson);
  });
});

describe("drawRepeats", () => {
  it("writes a segment again and again", () => {
    const row = drawRepeats(seeded(6), 100, { first: 5, end: 50, digit: 20 });
    const period = Array.from({ length: 24 }, (_, i) => i + 1).find((p) =>
      row.every((token, i) => i < p || token === row[i - p]),
    );
    assert.ok(period !== undefined && period >= 4);
    assert.ok(row.every((token) => token >= 5 && token < 50));
  });
});

describe("skills", () => {
  it("answer in a form of their own: no two give the same text, and none gives the plain sentence", () => {
    const [fact] = drawFacts(seeded(7), 1, { split: "train", domains: ["proposals"], units: ["crowns"] });
    const metres = { ...fact, unit: "metres" };
    const answers = SKILLS.map((skill) => skill.answer(skill.units?.includes("metres") ? metres : fact));
    assert.equal(new Set([...answers, plainSentence(fact)]).size, answers.length + 1);
  });

  it("convert and weigh numbers rightly", () => {
    const fact = drawFacts(seeded(8), 1, { split: "train", units: ["kilometres"] })[0];
    const skill = (name: string) => SKILLS.find((candidate) => candidate.name === name)!;
    assert.match(skill("convert").answer({ ...fact, value: "42" }), / is 42 kilometres, or 42000 metres\.$/);
    const risks = ["99", "100", "1000"].map(
      (value) =>
        skill("risk")
          .answer({ ...fact, value })
          .match(/Risk: (\w+)/)![1],
    );
    assert.deepEqual(risks, ["low", "medium", "high"]);
    assert.match(skill("spelled").answer({ ...fact, value: "407" }), / is four zero seven kilometres\.$/);
  });
});
