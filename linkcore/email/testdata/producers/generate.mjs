// Makes the mails of this folder, by the producers themselves:
//
//	npm install nodemailer@10.6.1 mjml@5.4.1 @react-email/components@1.0.12 @react-email/render@2.3.1 react react-dom
//	node generate.mjs
import nodemailer from "nodemailer";
import mjml2html from "mjml";
import React from "react";
import { render } from "@react-email/render";
import { Html, Body, Button, Link, Text } from "@react-email/components";
import { writeFileSync } from "node:fs";
const h = React.createElement;
const urls = ["https://shop.example/a?x=1&y=2", "https://shop.example/ü/b", "https://shop.example/c#part"];
const react = await render(h(Html, null, h(Body, null, h(Text, null, "Hi, ", h(Link, { href: urls[0] }, "one")), h(Button, { href: urls[1] }, "two"), h(Link, { href: urls[2], "data-privacy-link": "" }, "three"))));
const text = await render(h(Html, null, h(Body, null, h(Link, { href: urls[0] }, "one"))), { plainText: true });
const mj = await mjml2html(`<mjml><mj-body><mj-section><mj-column><mj-button href="${urls[0].replace("&", "&amp;")}">one</mj-button><mj-text><a href="${urls[1]}">two</a></mj-text><mj-image href="${urls[2]}" src="https://shop.example/i.png" /></mj-column></mj-section></mj-body></mjml>`);
const transport = nodemailer.createTransport({ streamTransport: true, buffer: true });
for (const [name, options] of Object.entries({
  react: { html: react, text }, mjml: { html: mj.html, text: "See " + urls[0] },
  base64: { html: mj.html, text: "See " + urls[0], textEncoding: "base64" },
  attachments: { html: react, text, attachments: [{ filename: "a.html", content: "<a href='https://shop.example/file'>x</a>" }, { filename: "i.png", content: Buffer.from("x"), cid: "i@x" }] },
  amp: { html: react, text, amp: `<!doctype html><html ⚡4email><body><a href="${urls[0]}">x</a></body></html>` },
})) {
  const { message } = await transport.sendMail({ from: "a@shop.example", to: "b@shop.example", subject: "Grüße", ...options });
  writeFileSync(name + ".eml", message);
}
