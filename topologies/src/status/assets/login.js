// Shows the token once; the server answers with a cookie.
document.getElementById("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const said = document.getElementById("said");
  said.textContent = "";
  try {
    const headers = { Authorization: `Bearer ${document.getElementById("token").value}` };
    const answer = await fetch("/api/v1/session", { method: "POST", headers });
    if (answer.ok) location.reload();
    else said.textContent = "That is not the token.";
  } catch (error) {
    said.textContent = `The token could not be sent: ${error.message}`;
  }
});
