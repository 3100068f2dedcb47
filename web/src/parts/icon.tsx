/* icon - the few line drawings that the console uses, 24 × 24, in the colour of the text. They
 * decorate: what they stand beside, or the button around them, has the words. */
const PATHS = {
  chat: "M4 5h16v11H9l-5 4z",
  chart: "M4 20V4M4 20h16M8 16v-4M12.5 16V8M17 16v-6",
  key: "M14.5 9.5a4 4 0 1 0-3.4 4L13 15h2v2h2v2h3v-3l-5.7-5.7",
  gauge: "M4 18a9 9 0 1 1 16 0M12 14l4-5M11 14.5a1 1 0 1 0 2 0 1 1 0 0 0-2 0",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6 19 19M5 19l1.4-1.4M17.6 6.4 19 5",
  moon: "M20 14.5A8.5 8.5 0 1 1 9.5 4a7 7 0 0 0 10.500 10.500z",
  logout: "M14 4H5v16h9M10 12h11M17 8l4 4-4 4",
  user: "M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM4 21c0-4 3.500-6 8-6s8 2 8 6",
  send: "M5 12 4 4l17 8-17 8zM5 12h8",
  stop: "M7 7h10v10H7z",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  check: "M4 12.500 9.500 18 20 6.500",
  download: "M12 4v11M7 10.500l5 5 5-5M4 20h16",
  alert: "M12 4 2.500 20h19zM12 10v4.500M12 17.200v.3",
  plus: "M12 5v14M5 12h14",
  trash: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5",
  sliders: "M4 7h9M17 7h3M15 5v4M4 17h3M11 17h9M9 15v4",
  retry: "M5 12a7 7 0 1 1 2 5M4 20v-4h4",
  eraser: "M4 15 13 6l6 6-7 7H8zM9 10l6 6M12 19h8",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 18 }: { name: IconName; size?: number }) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 24 24"
      fill="none"
      stroke="currentColor"
      strokeWidth={1.7}
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
      focusable="false"
    >
      <path d={PATHS[name]} />
    </svg>
  );
}

export function Mark({ size = 26 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <rect width="32" height="32" rx="8" fill="#0b7285" />
      <path
        d="M7 11c3 0 3 3 6 3s3-3 6-3 3 3 6 3M7 18c3 0 3 3 6 3s3-3 6-3 3 3 6 3"
        fill="none"
        stroke="#fff"
        strokeWidth="2.6"
        strokeLinecap="round"
      />
    </svg>
  );
}
