/* copy_button - puts a text on the clipboard and says so. Outside a secure context (plain HTTP on a
 * host that is not loopback) browsers have no clipboard API; then a hidden field is copied from. */
import { ActionIcon, Tooltip } from "@mantine/core";
import { useEffect, useState } from "react";
import { Icon } from "./icon";

async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyByField(text);
  }
}

function copyByField(text: string): boolean {
  const before = document.activeElement;
  /* Inside an open dialog only the dialog's own nodes can take the focus. */
  const host = document.querySelector('[role="dialog"]') ?? document.body;
  const field = document.createElement("textarea");
  field.value = text;
  field.readOnly = true;
  field.style.position = "fixed";
  field.style.opacity = "0";
  host.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  if (before instanceof HTMLElement) before.focus();
  return done;
}

const SHOWN_MS = 1800;

export function CopyButton({ text, label }: { text: string; label: string }) {
  const [state, setState] = useState<"ready" | "copied" | "failed">("ready");
  useEffect(() => {
    if (state === "ready") return;
    const timer = setTimeout(() => setState("ready"), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [state]);

  const says = { ready: label, copied: "Copied", failed: "Could not copy: select it by hand" }[
    state
  ];
  return (
    <Tooltip label={says} withArrow>
      <ActionIcon
        variant="subtle"
        color={state === "failed" ? "red" : "gray"}
        size="sm"
        aria-label={says}
        onClick={() => void copyText(text).then((done) => setState(done ? "copied" : "failed"))}
      >
        <Icon name={state === "copied" ? "check" : "copy"} size={15} />
      </ActionIcon>
    </Tooltip>
  );
}
