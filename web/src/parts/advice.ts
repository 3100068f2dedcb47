/* advice - what a person can do next after the gateway has refused or broken off. */
import { ApiError } from "../api/client";
import { GatewayError } from "../api/gateway";

export interface Advice {
  title: string;
  next: string;
  canRetry: boolean;
  offerText?: boolean; /* the deployment cannot force JSON: offer plain text */
}

export function adviceFor(error: Error, askedForJson: boolean): Advice {
  if (error instanceof ApiError)
    return {
      title: "No API key could be made",
      next: "The playground needs a key of yours. Paste one under “Key”, or ask your admin.",
      canRetry: true,
    };
  if (!(error instanceof GatewayError))
    return { title: "The answer failed", next: "Try it again.", canRetry: true };
  if (askedForJson && error.status === 400 && blamesFormat(error))
    return {
      title: "This deployment cannot force JSON",
      next: "Send it as plain text, and ask for JSON in your own words.",
      canRetry: false,
      offerText: true,
    };
  return adviceByStatus(error);
}

function blamesFormat(error: GatewayError): boolean {
  return (
    error.param?.startsWith("response_format") === true || /response_format/.test(error.message)
  );
}

function adviceByStatus(error: GatewayError): Advice {
  switch (error.status) {
    case 0:
      return error.code === "unreachable"
        ? {
            title: "The gateway cannot be reached",
            next: "Check that it is running and that this browser can reach its address.",
            canRetry: true,
          }
        : {
            title: "The answer was cut",
            next: "You pay for the tokens that came. Try it again.",
            canRetry: true,
          };
    case 400:
    case 413:
      return error.code === "context_length_exceeded"
        ? {
            title: "Too long for this model",
            next: "Shorten the message, lower the output length, or start a new conversation.",
            canRetry: false,
          }
        : {
            title: "The request was not accepted",
            next: "Change it and send again.",
            canRetry: false,
          };
    case 401:
      return {
        title: "The API key was refused",
        next: "It is revoked, expired or mistyped. Send again to use a new playground key.",
        canRetry: true,
      };
    case 402:
      return {
        title: "The budget is used up",
        next: "Ask whoever runs this service to raise it.",
        canRetry: false,
      };
    case 403:
    case 404:
      return {
        title: "This model is not there for you",
        next: "It may no longer be shared with your org. Choose another one.",
        canRetry: false,
      };
    case 429:
      return {
        title: "Over the limit",
        next: "Nothing was billed. There is room again when the time below has passed.",
        canRetry: true,
      };
    case 503:
    case 529:
      return {
        title: "The model is busy or still starting",
        next: "Nothing was billed. Try again in a moment.",
        canRetry: true,
      };
    default:
      return { title: "The gateway failed", next: "Try it again.", canRetry: true };
  }
}
