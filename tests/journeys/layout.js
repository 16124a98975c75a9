// Find, in a page, what cannot be read: texts that overlap, are cut, lie outside of the page, or have less than 4.5 of
// contrast to what is behind them (3 where they are large: WCAG 2.2, 1.4.3). Returns a list of faults, each a text.
(() => {
  const faults = [];
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) faults.push(`the page is ${document.documentElement.scrollWidth} wide`);

  const isUnseen = (one) => one.closest(".unseen, .skip, title, noscript, script, thead") && !isShownHead(one);
  const isShownHead = (one) => {
    const head = one.closest("thead");
    return head && !one.closest(".unseen") && getComputedStyle(head).clipPath === "none";
  };

  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const parent = node.parentElement;
    if (!node.data.trim() || isUnseen(parent) || !parent.checkVisibility()) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) {
      if (box.width > 1 && box.height > 1) texts.push({ node, parent, box, text: node.data.trim().slice(0, 30) });
    }
  }

  for (const { box, text, parent } of texts) {
    const right = parent.closest("pre") ? Infinity : width;
    if (box.left < -1 || box.right > right + 1) faults.push(`outside: ${text}`);
  }

  // Lines are taller than their letters; boxes count as overlapping where letters could.
  texts.sort((one, other) => one.box.top - other.box.top);
  for (let first = 0; first < texts.length; first++) {
    const one = texts[first];
    for (let second = first + 1; second < texts.length; second++) {
      const other = texts[second];
      if (other.box.top > one.box.bottom) break;
      if (one.node === other.node) continue;
      const across = Math.min(one.box.right, other.box.right) - Math.max(one.box.left, other.box.left);
      const down = Math.min(one.box.bottom, other.box.bottom) - Math.max(one.box.top, other.box.top);
      if (across > 1 && down > 0.3 * Math.min(one.box.height, other.box.height)) {
        faults.push(`overlap: ${one.text} / ${other.text}`);
      }
    }
  }

  for (const one of document.querySelectorAll("body *")) {
    const style = getComputedStyle(one);
    if (isUnseen(one) || style.display === "inline" || !one.checkVisibility()) continue;
    const hides = style.overflowX !== "visible" && style.overflowX !== "auto" && style.overflowX !== "scroll";
    if (hides && one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 1) faults.push(`cut: ${one.className}`);
  }

  const parse = (text) => (text.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const behind = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const [r, g, b, a = 1] = parse(getComputedStyle(at).backgroundColor);
      if (a > 0) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const luminance = (color) => {
    const [r, g, b] = color.map((part) => part / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const seen = new Set();
  for (const { parent, text } of texts) {
    const style = getComputedStyle(parent);
    const color = parse(style.color).slice(0, 3);
    const ground = behind(parent);
    const [light, dark] = [luminance(color), luminance(ground)].sort((one, other) => other - one);
    const ratio = (light + 0.05) / (dark + 0.05);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const key = `${color}/${ground}/${isLarge}`;
    if (ratio < (isLarge ? 3 : 4.5) && !seen.has(key)) {
      seen.add(key);
      faults.push(`contrast ${ratio.toFixed(2)}: ${text}`);
    }
  }
  return faults.slice(0, 20);
})();
