// Loaded before the style sheet, in the way of the first drawing: a theme that was chosen is there from the beginning. Without one the
// system's is shown, by the style sheet alone.

{
  const chosen = localStorage.getItem("theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset["theme"] = chosen;
}

export {};
