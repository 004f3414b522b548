const reference = document.getElementById("reference");

SwaggerUIBundle({
    domNode: reference,
    url: reference.dataset.schema,
    deepLinking: true,
    persistAuthorization: false,
    displayRequestDuration: true,
    validatorUrl: null, // it would ask another host
});
