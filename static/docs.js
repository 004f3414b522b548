const reference = document.getElementById("reference");
const dark = window.matchMedia("(prefers-color-scheme: dark)");

function keepToTheScheme() {
    document.documentElement.classList.toggle("dark-mode", dark.matches); // Swagger's own name for it
}

keepToTheScheme();
dark.addEventListener("change", keepToTheScheme);

let language = "curl"; // that of the samples which are shown next

async function copied(text, place) {
    if (window.isSecureContext) {
        await navigator.clipboard.writeText(text);
        return true;
    }
    window.getSelection().selectAllChildren(place); // without https a browser has no clipboard for pages
    return document.execCommand("copy");
}

function CodeSamples({ React, samples }) {
    const create = React.createElement;
    const [chosen, choose] = React.useState(language);
    const [said, say] = React.useState("");
    const code = React.useRef(null);
    const sample = samples.find((one) => one.label === chosen) ?? samples[0];

    function show(label) {
        language = label;
        choose(label);
        say("");
    }

    async function copy() {
        const done = await copied(sample.source, code.current).catch(() => false);
        say(done ? "Copied" : "Select the text, and copy it by hand");
    }

    const languages = samples.map((one) =>
        create(
            "button",
            {
                key: one.label,
                type: "button",
                className: "language",
                "aria-pressed": one === sample,
                onClick: () => show(one.label),
            },
            one.label,
        ),
    );
    return create(
        "section",
        { className: "samples", "aria-label": "Code samples" },
        create(
            "div",
            { className: "opblock-section-header" },
            create("h4", null, "Code"),
            create("div", { className: "languages", role: "group", "aria-label": "Language" }, languages),
            create("span", { className: "said", role: "status" }, said),
            create("button", { type: "button", className: "copy", onClick: copy }, "Copy"),
        ),
        create(
            "pre",
            { className: "source", tabIndex: 0, "aria-label": `${sample.label} sample` },
            create("code", { ref: code }, sample.source),
        ),
    );
}

function ShowCodeSamples() {
    return {
        wrapComponents: {
            responses: (Responses, { React, specSelectors }) => (props) => {
                const samples = specSelectors.specJson().getIn(["paths", props.path, props.method, "x-codeSamples"]);
                return React.createElement(
                    React.Fragment,
                    null,
                    samples && React.createElement(CodeSamples, { React, samples: samples.toJS() }),
                    React.createElement(Responses, props),
                );
            },
        },
    };
}

SwaggerUIBundle({
    domNode: reference,
    plugins: [ShowCodeSamples],
    url: reference.dataset.schema,
    deepLinking: true,
    persistAuthorization: false,
    displayRequestDuration: true,
    defaultModelsExpandDepth: 0,
    validatorUrl: null, // it would ask another host
});
