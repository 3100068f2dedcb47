/* tag - a state in a word. The dot has the colour, the word keeps the contrast of text. */
import type { ComponentPropsWithRef } from "react";
import classes from "./tag.module.css";

export type TagColor = "gray" | "blue" | "cyan" | "teal" | "yellow" | "orange" | "red";

export function Tag({
  color,
  children,
  ...rest
}: { color: TagColor } & Omit<ComponentPropsWithRef<"span">, "color">) {
  return (
    <span className={classes.tag} {...rest}>
      <span
        className={classes.dot}
        style={{ background: `var(--mantine-color-${color}-6)` }}
        aria-hidden="true"
      />
      {children}
    </span>
  );
}
