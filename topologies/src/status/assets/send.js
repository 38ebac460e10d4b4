// How the page changes something.

/** Sends a change with the token that the page was given; fails with the sentence that the server answers. */
export async function send(frame, method, path, body) {
  const headers = { "content-type": "application/json" };
  if (frame.token) headers.authorization = `Bearer ${frame.token}`;
  const answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  if (answer.ok) return answer.json();
  const said = await answer.text();
  let sentence = said;
  try {
    const { errorMessage, error } = JSON.parse(said);
    sentence = errorMessage ?? error ?? said;
  } catch {
    // Not JSON: a sentence as it is.
  }
  throw new Error(sentence || `the server answered ${answer.status}`);
}
