const reference = document.getElementById("reference");
const dark = window.matchMedia("(prefers-color-scheme: dark)");

function keepToTheScheme() {
    document.documentElement.classList.toggle("dark-mode", dark.matches); // Swagger's own name for it
}

keepToTheScheme();
dark.addEventListener("change", keepToTheScheme);

SwaggerUIBundle({
    domNode: reference,
    url: reference.dataset.schema,
    deepLinking: true,
    persistAuthorization: false,
    displayRequestDuration: true,
    defaultModelsExpandDepth: 0,
    validatorUrl: null, // it would ask another host
});
